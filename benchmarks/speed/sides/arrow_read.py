"""pyarrow's own read of the columns that `reader` reads, into tables, on one core. A call is one pass."""

import os
from pathlib import Path

import pyarrow.parquet as pq

from tfstable.log_columns import columns_read, label_columns
from trainers.config import load
from trainers.training.check import open_log


def make(log: str, config: str, one_core: bool = True):
    if one_core:
        os.sched_setaffinity(0, {0})
    found = load(Path(config), [f"data.path={log}"])
    days = open_log(found, lambda *_: None)
    wanted = {column for _, column in columns_read(found.features)}
    wanted |= {*label_columns(found.tasks).values(), found.data.weight}
    columns = sorted(wanted - {None})

    def train(calls):
        rows = 0
        for _ in range(calls):
            for day in days.days:
                for path in {unit.path for unit in days.units(day)}:
                    rows += pq.read_table(path, columns=columns, use_threads=False, partitioning=None).num_rows
        return rows

    return train
