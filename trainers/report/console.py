"""What the user sees of a run: progress, a line a window, a table at the end; and the same in TensorBoard."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tfstable.data.window import Window


class Report:
    """Shows a run on the console and writes its scalars.

    Args:
        console: Where to print.
        tasks: Names of the tasks.
        tensorboard: Directory of the event files; None for none.
    """

    def __init__(self, console: Console, tasks: list[str], tensorboard: Path | None):
        self._console, self._tasks = console, tasks
        self._writer = tf.summary.create_file_writer(str(tensorboard)) if tensorboard else None

    @contextmanager
    def window(self, window: Window, total: int) -> Iterator[Callable[[int, int, int, np.ndarray], None]]:
        """Shows a window's progress; yields a function to call with steps done, new examples, iteration and losses."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} examples/s, loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
        )
        live = self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=not live) as progress:
            name = f"{window.days[0]} to {window.last}"
            bar = progress.add_task(name, total=total, rate=0.0, loss=float("nan"))
            began, examples, running = time.monotonic(), 0, None

            def show(done: int, new_examples: int, iteration: int, losses: np.ndarray):
                nonlocal examples, running
                examples += new_examples
                mean = losses.mean(axis=0)
                running = mean[0] if running is None else 0.9 * running + 0.1 * mean[0]
                rate = examples / (time.monotonic() - began)
                progress.update(bar, completed=done, rate=rate, loss=running)
                scalars = {"loss": mean[0], **{f"loss/{t}": v for t, v in zip(self._tasks, mean[1:], strict=True)}}
                self._write({**scalars, "examples_per_second": rate}, iteration)

            yield show
        seconds = time.monotonic() - began
        loss = float("nan") if running is None else running
        self._console.print(
            f"window {name}: {total} steps in {seconds:.1f} s, {examples / max(seconds, 1e-9):,.0f} examples/s, "
            f"loss {loss:.4f}",
            soft_wrap=True,
        )

    def skipped(self, window: Window, first: int, last: int, count: int):
        """Shows that steps were left out because a gradient was not finite."""
        self._console.print(
            f"window ending {window.last}: {count} of the steps {first} to {last} left out, a gradient was not finite",
            soft_wrap=True,
        )

    def found(self, line: str):
        """Shows what was found in the losses or metrics, or what is done about it."""
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def damaged(self, path: Path, reason: str, restored: int):
        """Shows that a checkpoint cannot be read, and which one was restored instead."""
        self._console.print(
            f"{path} cannot be read ({reason}); going on from checkpoint {restored}", soft_wrap=True, highlight=False
        )

    def diagnostics(self, figures: dict[str, dict[str, float]], iteration: int):
        """Writes clipping factor and norms of each variable."""
        self._write({f"{figure}/{path}": v for path, d in figures.items() for figure, v in d.items()}, iteration)

    def evaluated(self, last: date, metrics: dict[str, Any], iteration: int):
        """Shows the metrics of a window's evaluation day."""
        tasks = metrics["tasks"]
        parts = [f"{name} {_headline(values)}" for name, values in tasks.items()]
        self._console.print(f"day {metrics['eval_day']}, not trained on yet: {', '.join(parts)}", soft_wrap=True)
        self._write({f"{metric}/{name}": v for name, m in tasks.items() for metric, v in m.items()}, iteration)

    def exported(self, path: Path, day: date, difference: float):
        """Shows where a version was published."""
        self._console.print(
            f"exported {path}: predicts {day} as the trainer does, within {difference:.1g}", soft_wrap=True
        )

    def summary(self, metrics: dict[str, Any]):
        """Shows the last evaluation day as a table."""
        names = dict.fromkeys(metric for values in metrics["tasks"].values() for metric in values)
        for for_files in ("labels", "positives", "predicted", "spread", "rmse_se"):
            names.pop(for_files, None)
        table = Table("task", *names, title=f"{metrics['eval_day']}, trained to {metrics['window'][1]}")
        for task, values in metrics["tasks"].items():
            table.add_row(task, *("" if values.get(name) is None else f"{values[name]:.4f}" for name in names))
        self._console.print(table)

    def _write(self, scalars: dict[str, float], iteration: int):
        if self._writer is not None:
            with self._writer.as_default():
                for name, value in scalars.items():
                    if value is not None:  # From a file, in which what is not finite is null.
                        tf.summary.scalar(name, value, step=iteration)


def _headline(values: dict[str, float]) -> str:
    if not values.get("labels", True):
        return "has no labels"
    name, digits = ("auc", ".4f") if "auc" in values else ("rmse", ".4g")
    value = values[name]
    return f"{name.upper()} {value:{digits}}" if value is not None and np.isfinite(value) else f"no {name.upper()}"
