"""From Parquet to ready batches, compared with pyarrow's own read of the same columns; both on one core."""

from functools import partial
from pathlib import Path

from benchmarks.speed.kuairand import prepared
from benchmarks.speed.side import Side
from benchmarks.speed.turns import in_turns

BATCH = 4096


def cases(raw: Path, work: Path) -> dict:
    return {
        "KuaiRand: 34 inputs, 3 of text": partial(
            measure, lambda: prepared(raw, work), "configs/kuairand_columns.yaml"
        ),
        "simulated feed: 13 inputs, 4 of text, 1 of lists of text": partial(
            measure, lambda: simulated(work / "feed", 8, 131_072), "configs/quickstart.yaml"
        ),
    }


def measure(log, config: str) -> dict:
    path = str(log())
    with (
        Side("reader", log=path, config=config, batch=BATCH, one_core=True) as ours,
        Side("arrow_read", log=path, config=config) as theirs,
    ):
        return in_turns(ours, theirs)


def simulated(path: Path, days: int, rows_per_day: int) -> Path:
    from tfstable.sources.simulate import simulate

    if not path.exists():
        simulate(path, days=days, rows_per_day=rows_per_day, users=100_000, videos=20_000)
    return path
