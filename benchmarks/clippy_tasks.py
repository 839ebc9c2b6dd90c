"""One task breaks: its labels turn to noise for a day. What becomes of the other tasks?

    make bench-clippy-tasks      (python -m benchmarks.clippy_tasks)

The planted task `rating`, a regression without a transform, has labels of 0 to 7. On one day of a simulated log they
are noise of magnitude 1e4. Four binary tasks share its bottom and tables: 256 x 256 ReLU units on a cross layer, by
Adagrad. Detector, recovery and gate are off. Each day is evaluated before it is trained on, as by `train`.

- none, GC (per tensor), global norm (of all gradients, before Adagrad's sums), Clippy.
- a limit per task: `model.task_gradient_limit`, on the gradient where a task enters the shared layers.
- a limit per task and row: there, too, on each row's own gradient.
- GC per task: each task's gradient on each variable, before the sum. One backward pass per task.

Rerun to resume: each run is a file in --work. Writes benchmarks/results/clippy_tasks.json and .md.
Cost: about ten minutes of one core.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import yaml

from tfstable.models import RankingModel
from tfstable.sources.simulate import simulate
from trainers.build.learner import make_learner
from trainers.build.steps import Steps
from trainers.config import Config, load
from trainers.studies.workbench import Workbench
from trainers.training.check import open_log
from trainers.training.evaluation import evaluate
from trainers.training.loop import train_window

FIRST, DAYS, BAD = date(2025, 1, 1), 9, 4
TASKS = ("click", "like", "share", "follow")
RESULTS = Path(__file__).parent / "results"
Keys = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-clippy-tasks"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for is_broken in (True, False):
        log = write_log(arguments.work / ("log-broken" if is_broken else "log-healthy"), is_broken)
        bench = None
        for name, (keys, make_steps) in SETTINGS.items():
            if not is_broken and name not in HEALTHY:
                continue
            runs = []
            for seed in range(arguments.seeds):
                path = arguments.work / f"{log.name}, {name}, seed {seed}.json"
                if not path.exists():
                    config = load_config(arguments.work, log, keys | {"trainer.seed": seed})
                    bench = bench or Bench(config, open_log(config), kept=1)
                    path.with_suffix(".partial").write_text(json.dumps(bench.train(name, config, make_steps)))
                    path.with_suffix(".partial").rename(path)
                    print(path.stem, flush=True)
                runs.append(json.loads(path.read_text()))
            found[name if is_broken else f"{name}, no day of noise"] = runs
    text = "\n".join(table(found)) + "\n"
    (arguments.out / "clippy_tasks.md").write_text(text, encoding="utf-8")
    (arguments.out / "clippy_tasks.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(text)


def write_log(path: Path, is_broken: bool) -> Path:
    """Simulates a log with the planted task's labels in column `rating`, unless it is there."""
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.partial")
    if not partial.exists():
        simulate(partial, days=DAYS, rows_per_day=20_000, users=2_000, videos=800)
    for number in range(DAYS):
        file = partial / f"date={day(number)}" / "part-0.parquet"
        rows = pq.read_table(file)
        if "rating" in rows.column_names:
            continue
        rating = np.log1p(rows["watch_time_s"].to_numpy())
        if is_broken and number == BAD:
            rating = np.random.default_rng(number).normal(0, 1e4, len(rating))
        pq.write_table(rows.append_column("rating", pa.array(rating.astype(np.float32))), file)
    return partial.rename(path)


def load_config(work: Path, log: Path, keys: Keys) -> Config:
    """The quick start's features and tasks, with a plain model and the planted task."""
    raw = yaml.safe_load((Path("configs") / "quickstart.yaml").read_text(encoding="utf-8"))
    del raw["export"], raw["tasks"]["watch_time"]
    raw["data"] = {"path": str(log)}
    raw["tasks"]["rating"] = {"kind": "regression"}
    raw["model"] = {"cross_depth": 1, "units": [256, 256], "activation": "relu"}
    raw["trainer"] |= {"window_days": 1, "batch_size": 512}
    (work / "config.yaml").write_text(yaml.safe_dump(raw))
    return load(work / "config.yaml", [f"{key}={json.dumps(value)}" for key, value in keys.items()])


class Bench(Workbench):
    """Trains all windows in time order."""

    def train(self, name: str, config: Config, make_steps: Callable[..., Steps]) -> dict[str, dict[str, float]]:
        """Returns by day that was trained on: `loss`, the mean of the binary tasks' weighted sum over its steps, and,
        on the next day, AUC by task and the RMSE of the rating."""
        make = lambda: make_learner(config, self.statistics, track_every=0, make_steps=make_steps)  # noqa: E731
        learner, trainer = self.learner(config, name, make), config.trainer
        plans = self.plans(trainer, self.log.days[-1])
        iterator = self.feed(plans, trainer, trainer.seed)
        learner.trace(iterator)
        names, days = ["total", *config.tasks], {}
        for each in plans:
            calls = train_window(learner, iterator, np.arange(each.total), each.total, lambda n: trainer.steps_per_call)
            losses = np.concatenate([call.losses for call in calls]).mean(axis=0)
            (following,) = each.window.next_days
            metrics = evaluate(config, self.log, following, self.predict(learner, following, config, each.window))
            found = {"loss": sum(config.tasks[task].weight * losses[names.index(task)] for task in TASKS)}
            found |= {task: metrics[task]["auc"] for task in TASKS} | {"rmse": metrics["rating"]["rmse"]}
            days[str(each.window.last)] = {key: round(float(value), 4) for key, value in found.items()}
        return days


class GlobalNorm(Steps):
    """Scales all gradients by one factor, so that their common norm is at most 1; before Adagrad's sums."""

    def _gradients(self, *batch: Any) -> tuple[list[Any], tf.Tensor, dict[str, tf.Tensor]]:
        gradients, losses, shares = super()._gradients(*batch)
        norm = tf.sqrt(tf.add_n([_square(gradient) for gradient in gradients]))
        return [_times(gradient, tf.minimum(1.0, 1.0 / norm)) for gradient in gradients], losses, shares


class PerTask(Steps):
    """Clips each task's gradient on each variable to a norm of 0.1, then sums over the tasks."""

    def _gradients(
        self, features: Any, labels: Any, weight: Any, *rest: Any
    ) -> tuple[list[Any], tf.Tensor, dict[str, tf.Tensor]]:
        variables = [variable.value for variable in self._model.trainable_variables]
        with tf.GradientTape(persistent=True) as tape:
            logits = self._model.logits(features, training=True)
            parts = self._model.task_losses(labels, logits, weight)
            weighted = [self._model.task_specs[name].weight * loss for name, loss in parts.items()]
        of_tasks = [tape.gradient(loss, variables) for loss in weighted]
        sums = []
        for of_variable in zip(*of_tasks, strict=True):
            known = [gradient for gradient in of_variable if gradient is not None]  # A head belongs to one task.
            sums.append(_sum([_times(g, tf.minimum(1.0, 0.1 * tf.math.rsqrt(_square(g)))) for g in known]))
        return sums, tf.stack([tf.add_n(weighted), *(parts[name] for name in self._tasks)]), {}


class PerRow(RankingModel):
    """Clips each task's gradient where it enters the shared layers, row by row."""

    def __init__(self, *args: Any, row_limit: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.row_limit = row_limit

    def shared_bottom(self, x: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        @tf.custom_gradient
        def limited(x: tf.Tensor) -> Any:
            def scaled(g: tf.Tensor) -> tf.Tensor:
                norms = tf.norm(g, axis=1, keepdims=True) * tf.cast(tf.shape(g)[0], g.dtype)  # Of a row's own gradient.
                return g * tf.minimum(1.0, self.row_limit / norms)

            return tf.identity(x), scaled

        shared = super().shared_bottom(x, training=training)
        return {name: limited(shared) for name in self.task_specs}


def _square(gradient: Any) -> tf.Tensor:
    return tf.reduce_sum(tf.square(tf.convert_to_tensor(gradient)))


def _times(gradient: Any, factor: tf.Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def _sum(gradients: Sequence[Any]) -> Any:
    if isinstance(gradients[0], tf.IndexedSlices):
        values, indices = (tf.concat([getattr(g, name) for g in gradients], axis=0) for name in ("values", "indices"))
        return tf.IndexedSlices(values, indices, gradients[0].dense_shape)
    return tf.add_n(gradients)


NONE: Keys = {"optimizer.dense.clipping": None}
CLIPPY: Keys = {"optimizer.dense.clipping": {"kind": "clippy"}}
LIMIT = "model.task_gradient_limit"


def _gc(threshold: float, *groups: str) -> Keys:
    return {f"optimizer.{group}.clipping": {"kind": "gradient_norm", "threshold": threshold} for group in groups}


def _rows(limit: float) -> Keys:
    return NONE | {"model.class": "benchmarks.clippy_tasks.PerRow", "model.options": {"row_limit": limit}}


SETTINGS: dict[str, tuple[Keys, Callable[..., Steps]]] = {
    "none": (NONE, Steps),
    "GC 0.1": (_gc(0.1, "dense"), Steps),
    "GC 0.01": (_gc(0.01, "dense"), Steps),
    "GC 0.1, tables too": (_gc(0.1, "dense", "embeddings"), Steps),
    "global norm 1": (NONE, GlobalNorm),
    "Clippy": (CLIPPY, Steps),
    "limit per task 1": (NONE | {LIMIT: 1.0}, Steps),
    "limit per task 0.25": (NONE | {LIMIT: 0.25}, Steps),
    "limit per task 1, Clippy": (CLIPPY | {LIMIT: 1.0}, Steps),
    "limit per task and row 3": (_rows(3.0), Steps),
    "GC per task 0.1": (NONE, PerTask),
}
HEALTHY = ("none", "limit per task 1")


def day(number: int) -> str:
    """The date of a day of the log, the first being 0."""
    return str(FIRST + timedelta(number))


def table(found: dict[str, list[dict[str, dict[str, float]]]]) -> list[str]:
    """Returns the table in Markdown: means over the seeds, and their standard deviation in brackets."""
    columns = [f"day {number}" for number in range(BAD, DAYS)]
    seeds = len(next(iter(found.values())))
    lines = [
        f"The labels of one task are noise on day {BAD}. Mean of {seeds} seeds, and their standard deviation.",
        "AUC: mean of click, like, share and follow, on a day, before training on it. Loss: their weighted sum while",
        "training on the day.",
        "",
        f"| AUC | {' | '.join(columns)} | rmse of rating, day {DAYS - 1} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, runs in found.items():
        cells = [[statistics.mean(run[day(n - 1)][t] for t in TASKS) for run in runs] for n in range(BAD, DAYS)]
        rmse = statistics.mean(run[day(DAYS - 2)]["rmse"] for run in runs)
        lines.append(f"| {name} | {' | '.join(map(cell, cells))} | {rmse:.2f} |")
    days = range(BAD - 1, DAYS - 1)
    lines += ["", f"| loss | {' | '.join(f'day {n}' for n in days)} |", "|---" * (len(days) + 1) + "|"]
    for name, runs in found.items():
        lines.append(f"| {name} | {' | '.join(cell([run[day(n)]['loss'] for run in runs]) for n in days)} |")
    return lines


def cell(values: list[float]) -> str:
    spread = f" ({statistics.stdev(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
