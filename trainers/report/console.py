"""What the user sees of a run: progress, a line per window, a table at the end; and the same in TensorBoard."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tfstable.data.window import Window
from trainers.report.metrics import metric_tables, scalars
from trainers.store.window_record import TaskMetrics, WindowRecord

LOG = logging.getLogger("tfstable")  # Silent unless a program configures it.
LOG.addHandler(logging.NullHandler())


class Report:
    """Shows a run on a console or in the log of `logging`, and writes its scalars.

    Args:
        console: Where to print; None: each line goes to the logger "tfstable", and no progress is drawn.
        tasks: Names of the tasks.
        tensorboard: Directory of the event files; None for none.
    """

    def __init__(self, console: Console | None, tasks: Sequence[str] = (), tensorboard: Path | None = None):
        self._console, self._tasks = console, tasks
        self._tensorboard = tensorboard
        self._writer: tf.summary.SummaryWriter | None = None

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
        # Older releases of rich print an empty line even for a progress that is disabled.
        live = self._console is not None and self._console.is_terminal
        progress = Progress(*columns, console=self._console, transient=True) if live else None
        name, began, examples, running = f"{window.days[0]} to {window.last}", time.monotonic(), 0, None
        with progress or nullcontext():
            if progress is not None:
                bar = progress.add_task(name, total=total, rate=0.0, loss=float("nan"))

            def show(done: int, new_examples: int, iteration: int, losses: np.ndarray) -> None:
                nonlocal examples, running
                examples += new_examples
                mean = losses.mean(axis=0)
                running = mean[0] if running is None else 0.9 * running + 0.1 * mean[0]
                rate = examples / (time.monotonic() - began)
                if progress is not None:
                    progress.update(bar, completed=done, rate=rate, loss=running)
                scalars = {"loss": mean[0], **{f"loss/{t}": v for t, v in zip(self._tasks, mean[1:], strict=True)}}
                self._write({**scalars, "examples_per_second": rate}, iteration)

            yield show
        seconds = time.monotonic() - began
        loss = float("nan") if running is None else running
        speed = f"{examples / max(seconds, 1e-9):,.0f} examples/s"
        self._say(f"window {name}: {total} steps in {seconds:.1f} s, {speed}, loss {loss:.4f}")

    def skipped(self, window: Window, first: int, last: int, count: int) -> None:
        """Shows that steps were left out because a gradient was not finite."""
        self._say(
            f"window ending {window.last}: {count} of the steps {first} to {last} left out, a gradient was not finite"
        )

    def found(self, line: str) -> None:
        """Shows a finding in the losses or metrics, or the run's reaction."""
        if self._console is None:
            LOG.warning(line)
        else:
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def tell(self, *shown: str | Table) -> None:
        """Shows lines and tables; in the log of `logging` a table's rows are lines."""
        for each in shown:
            if isinstance(each, str):
                self._say(each)
            elif self._console is not None:
                self._console.print(each)
            else:
                for row in zip(*(column.cells for column in each.columns), strict=True):
                    LOG.info(" ".join(filter(None, map(str, row))))

    def damaged(self, path: Path, reason: str, restored: int) -> None:
        """Shows that a checkpoint cannot be read, and which one was restored instead."""
        self.found(f"{path} cannot be read ({reason}); going on from checkpoint {restored}")

    def diagnostics(self, figures: dict[str, dict[str, float]], iteration: int) -> None:
        """Writes clipping factor and norms of each variable."""
        self._write({f"{figure}/{path}": v for path, d in figures.items() for figure, v in d.items()}, iteration)

    def evaluated(self, record: WindowRecord, iteration: int) -> None:
        """Shows the metrics of a window's evaluation day."""
        tasks = record.tasks or {}
        parts = [f"{name} {_headline(values)}" for name, values in tasks.items()]
        self._say(f"day {record.eval_day}, not trained on yet: {', '.join(parts)}")
        self._write(scalars(tasks), iteration)

    def exported(self, path: Path, day: date, difference: float) -> None:
        """Shows where a version was published."""
        self._say(f"exported {path}: predicts {day} as the trainer does, within {difference:.1g}")

    def summary(self, record: WindowRecord) -> None:
        """Shows the last evaluation day: a table of all metrics, and one per column of slices."""
        if self._console is not None:
            self._console.print(*metric_tables(record))

    def _say(self, line: str) -> None:
        if self._console is None:
            LOG.info(line)
        else:
            self._console.print(line, soft_wrap=True)

    def _write(self, scalars: Mapping[str, float | None], iteration: int) -> None:
        if self._tensorboard is not None:
            # Not made before the first scalar: it begins TensorFlow's context, and several workers must do so first.
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._tensorboard))
            with self._writer.as_default():
                for name, value in scalars.items():
                    if value is not None:  # From a file, where a number that is not finite is null.
                        tf.summary.scalar(name, value, step=iteration)


def _headline(values: TaskMetrics) -> str:
    if not values.get("labels", True):
        return "has no labels"
    name, digits = ("auc", ".4f") if "auc" in values else ("rmse", ".4g")
    value = values[name]
    return f"{name.upper()} {value:{digits}}" if value is not None and np.isfinite(value) else f"no {name.upper()}"
