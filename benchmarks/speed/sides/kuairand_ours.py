"""configs/kuairand.yaml from Parquet: every window as the trainer trains it. A call is the whole log."""

import tempfile
from pathlib import Path

from rich.console import Console

from tfstable.data.window import windows
from trainers.config import load
from trainers.devices.memory import keep_freed_memory
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_log, open_log
from trainers.training.loop import MovingWindow, fit_statistics


def make(log: str, overrides: list[str] = []):  # noqa: B006
    import tensorflow as tf

    config = load(Path("configs/kuairand.yaml"), [f"data.path={log}", *overrides])
    days = open_log(config, lambda *_: None)
    statistics = fit_statistics(config, days, check_log(config, days))
    run = RunDirectory(Path(tempfile.mkdtemp()), config)
    trainer = MovingWindow(config, days, statistics, run, Report(Console(quiet=True), list(config.tasks), None))
    todo, size = windows(days.days, config.trainer.window_days, config.trainer.stride_days), config.trainer.batch_size

    def train(calls):
        examples = 0
        for _ in range(calls):
            iterator = iter(trainer.state.feed(trainer.stream(todo), size))
            for window in todo:
                keep_freed_memory()  # As `tfstable train` does.
                batches, steps = trainer.plan(window)
                examples += round(batches.rows * steps / batches.steps)
                while steps:
                    count = min(steps, config.trainer.steps_per_call)
                    trainer.state.steps.train(iterator, tf.constant(count)).numpy()
                    steps -= count
        return examples

    return train
