"""The KuaiRand recipe end to end from Parquet, compared with TFRS and the input of its documentation."""

from functools import partial
from pathlib import Path

from benchmarks.speed.side import Side
from benchmarks.speed.turns import in_turns


def cases(raw: Path, work: Path) -> dict:
    return {
        "TFRS, rows shuffled by tf.data": partial(measure, raw, work, "documented"),
        "TFRS, rows shuffled by pandas": partial(measure, raw, work, "tuned"),
    }


def measure(raw: Path, work: Path, way: str) -> dict:
    log = str(prepared(raw, work))
    with Side("kuairand_ours", log=log) as ours, Side("kuairand_tfrs", log=log, way=way) as theirs:
        return in_turns(ours, theirs)


def prepared(raw: Path, work: Path) -> Path:
    """The log, made if it is not there."""
    from tfstable.sources.kuairand import prepare

    log = work / "kuairand"
    if not log.exists():
        prepare(raw, log)
    return log
