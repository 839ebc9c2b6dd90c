"""Training runs on a simulated log: how they are started, stopped, read and compared."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.specs import labelled
from trainers import config as configs
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_log, open_log
from trainers.training.first_window import fit_statistics
from trainers.training.loop import MovingWindow
from trainers.training.run import Run

CONFIG = """
data: {path: unset, weight: weight}
features:
  user_id: {kind: hash, buckets: 500, dim: 4}
  video_id: {kind: hash, buckets: 300, dim: 4}
  category: {kind: vocabulary, dim: 4}
  tags: {kind: hash, buckets: 50, dim: 4, max_values: 3}
  duration_s: {kind: numeric, log1p: true}
  user_followed: {kind: quantile, buckets: 8, dim: 4}
tasks:
  click: {kind: binary, truth: true_click}
  follow: {kind: binary}
  watch_time: {kind: regression, label: watch_time_s, transform: log1p}
model: {units: [16, 16], activation: smelu}
optimizer: {embeddings: {initial_accumulator: 1.0e-4}}
trainer: {window_days: 2, batch_size: 256, steps_per_call: 3, tensorboard: false}
evaluation: {gauc_column: user_id, batch_size: 512, ranking: {by: user_id, at: [5]}, slices: [category]}
"""
ROWS = 1000  # A day: four batches of 256, the last of a window not full.
DAYS = [date(2025, 1, day) for day in range(1, 6)]


def load(log: Path, *overrides: str) -> configs.Config:
    path = log.parent / "config.yaml"
    path.write_text(CONFIG)
    return configs.load(path, [f"data.path={log}", *overrides])


def start(log: Path, run: Path, *overrides: str, fresh: bool = False):
    train(load(log, *overrides), run, fresh=fresh)


def train(config: configs.Config, run: Path, fresh: bool = False, console: Console | None = None):
    log = DayLog(config.data.path, config.data.missing_day, config.data.until)
    Run(config, run, log, fresh=fresh, console=console).train()


def begun(config: configs.Config, run: Path, report: type[Report] = Report) -> MovingWindow:
    """What a run that has just begun is made of, with a report of another kind than `Run` gives it."""
    log, directory = open_log(config), RunDirectory(run, config)
    statistics = fit_statistics(config, log, check_log(config, log))
    directory.begin(statistics)
    return MovingWindow(config, log, statistics, directory, report(Console(quiet=True), labelled(config.tasks)))


def copy_days(log: Path, days: list[date], to: Path) -> Path:
    for day in days:
        shutil.copytree(log / f"date={day}", to / f"date={day}")
    return to


def weights(run: Path) -> dict[str, np.ndarray]:
    """Every tensor of the newest checkpoint, bookkeeping aside."""
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    reader = tf.train.load_checkpoint(str(newest / "checkpoint"))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return {name: reader.get_tensor(name) for name in names if not name.startswith("save_counter")}


def is_model_weight(name: str) -> bool:
    """Whether a tensor of a checkpoint is the model's: most are stored where the optimizer refers to them."""
    return name.startswith(("model/", "optimizer/_trainable_variables/"))


def metrics(run: Path, last: date | None = None) -> dict:
    path = run / "metrics.json" if last is None else run / "windows" / str(last) / "metrics.json"
    return {key: v for key, v in json.loads(path.read_text()).items() if "second" not in key}


def smooth(tasks: dict) -> dict:
    """The metrics that move little if predictions do, where there are labels.

    A row that crosses a bin moves the ECE; slices have few rows.
    """
    left_out = ("ece", "slices")
    return {t: {k: v for k, v in of.items() if k not in left_out and v is not None} for t, of in tasks.items()}


def assert_same_run(one: Path, other: Path):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    for folder in sorted((one / "windows").iterdir()):
        assert metrics(one, date.fromisoformat(folder.name)) == metrics(other, date.fromisoformat(folder.name))


class StoppedError(Exception):
    """What ends a run in the middle of a window."""


class StoppingReport(Report):
    """Stops the run inside its second window, behind a checkpoint of that window: a call has 3 steps of 8 at most."""

    windows = 0

    def window(self, window, total):
        context = super().window(window, total)
        self.windows += 1
        outer = self

        class Stopping:
            def __enter__(self):
                show = context.__enter__()

                def stopping_show(done, *args):
                    show(done, *args)
                    if outer.windows == 2 and done > 3:
                        raise StoppedError

                return stopping_show

            def __exit__(self, *error):
                return context.__exit__(*error)

        return Stopping()
