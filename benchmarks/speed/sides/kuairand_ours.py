"""configs/kuairand_columns.yaml from Parquet: every window as the trainer trains it. A call is the whole log."""

import tempfile
from pathlib import Path

import numpy as np

from tfstable.data.window import windows
from trainers import Run, load_config
from trainers.training.loop import train_window


def make(log: str, overrides: list[str] = []):  # noqa: B006
    config = load_config(Path("configs/kuairand_columns.yaml"), [f"data.path={log}", *overrides])
    trainer = Run.open(config, tempfile.mkdtemp()).parts()
    todo, size = (
        windows(trainer.log.days, config.trainer.window_days, config.trainer.stride_days),
        config.trainer.batch_size,
    )

    def train(calls):
        examples = 0
        for _ in range(calls):
            iterator = iter(trainer.state.feed(trainer.stream(todo), size))
            for window in todo:
                plan = trainer.plan(window)
                examples += round(plan.batches.rows * plan.total / plan.batches.steps)
                numbers = np.arange(plan.total)
                for _ in train_window(
                    trainer.state.learner, iterator, numbers, plan.total, lambda _: config.trainer.steps_per_call
                ):
                    pass
        return examples

    return train
