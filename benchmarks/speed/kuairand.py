"""The KuaiRand recipe end to end from Parquet, beside TFRS with the input that its documentation builds."""

from functools import partial
from pathlib import Path

from benchmarks.speed.side import Side
from benchmarks.speed.turns import compared, in_turns


def cases(raw: Path, work: Path) -> dict:
    return {
        "TFRS, rows shuffled by tf.data": partial(measure, raw, work, "documented"),
        "TFRS, rows shuffled by pandas": partial(measure, raw, work, "tuned"),
    }


def measure(raw: Path, work: Path, way: str) -> dict:
    from tfstable.data.kuairand import prepare

    log = work / "kuairand"
    if not log.exists():
        prepare(raw, log)
    with Side("kuairand_ours", log=str(log)) as ours, Side("kuairand_tfrs", log=str(log), way=way) as theirs:
        seconds = in_turns(ours, theirs)
    # Both train two passes over each of the log's days.
    return compared(seconds, dict.fromkeys(("ours", "theirs"), 2.0 * rows(log)))


def rows(log: Path) -> int:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(log, partitioning="hive").count_rows()
