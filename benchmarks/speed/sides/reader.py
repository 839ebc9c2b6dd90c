"""A log from Parquet to ready batches of model inputs, pass after pass. A call is one pass."""

import os
from pathlib import Path

from trainers.config import load
from trainers.training.check import check_log, open_log


def make(log: str, config: str, batch: int, one_core: bool = False, overrides: list[str] = []):  # noqa: B006
    if one_core:
        os.sched_setaffinity(0, {0})
    import tensorflow as tf

    from tfstable.inputs.preprocessor import Preprocessor
    from tfstable.inputs.reader import ExampleReader
    from trainers.devices.memory import keep_freed_memory
    from trainers.training.first_window import fit_statistics

    found = load(Path(config), [f"data.path={log}", *overrides])
    days = open_log(found, lambda *_: None)
    statistics = fit_statistics(found, days, check_log(found, days))
    reader = ExampleReader(days, Preprocessor(found.features, statistics), statistics, found.tasks, found.data.weight)
    first = reader.batches(tuple(days.days), batch, found.data.buffer_rows)

    def passes():
        number = 0
        while True:  # New batches every time: nothing is kept from one pass to the next.
            yield from reader.batches(tuple(days.days), batch, found.data.buffer_rows).one_pass((0, number))
            number += 1

    iterator = iter(reader.dataset(passes(), batch))

    @tf.function
    def take(steps):
        for _ in tf.range(steps):
            next(iterator)

    def train(calls):
        keep_freed_memory()  # As `tfstable train` does before each window.
        take(tf.constant(calls * first.steps))
        return calls * first.rows

    return train
