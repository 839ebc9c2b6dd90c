"""Examples per second and memory as tables, features, tasks, batches, windows and logs grow."""

import os
from functools import partial
from pathlib import Path

from benchmarks.speed.kuairand import prepared
from benchmarks.speed.log_input import BATCH, simulated
from benchmarks.speed.side import Side
from benchmarks.speed.workload import Workload

SMALL = Workload()
GROWING = {
    # Four tables of 10^7 rows and their accumulators are 5 GB.
    "rows of each of 4 tables": {rows: SMALL.with_(features=4, rows=rows) for rows in (10**4, 10**5, 10**6, 10**7)},
    "features": {n: SMALL.with_(features=n, batch=1024) for n in (10, 30, 100, 300, 1000)},
    "tasks": {n: SMALL.with_(tasks=n) for n in (1, 4, 16, 64)},
    "batch": {n: SMALL.with_(batch=n) for n in (256, 1024, 4096, 16_384, 65_536)},
}
WINDOWS = (1, 2, 4, 8)  # Days.
LOG_ROWS = (10**5, 10**6, 10**7, 10**8)


def cases(raw: Path, work: Path) -> dict:
    found = {
        f"{what}: {size}": partial(train, workload)
        for what, workloads in GROWING.items()
        for size, workload in workloads.items()
    }
    found |= {f"days in the window: {days}": partial(train_window, raw, work, days) for days in WINDOWS}
    return found | {f"rows of the log, read alone: {rows}": partial(read, work, rows) for rows in LOG_ROWS}


def train(workload: Workload) -> dict:
    per_call = max(1, 40_960 // workload.batch)
    with Side("ours", workload=workload.to_dict(), per_call=per_call) as side:
        return rate_and_memory(side, max(1, round(1.5 / side.seconds(1))))


def train_window(raw: Path, work: Path, days: int) -> dict:
    """KuaiRand from Parquet, one pass over every window of so many days."""
    overrides = [f"trainer.window_days={days}", "trainer.passes=1"]
    with Side("kuairand_ours", log=str(prepared(raw, work)), overrides=overrides, warm_up=1) as side:
        return rate_and_memory(side, 1)


def read(work: Path, rows: int) -> dict:
    """A log of so many rows: one simulated day of 10^5 or 10^6 rows, linked to as many days as that takes."""
    a_day = min(rows, 10**6)
    day = next((simulated(work / f"day-of-{a_day}", 1, a_day)).glob("date=*"))
    log = work / f"log-of-{rows}"
    for number in range(rows // a_day):
        link = log / f"date={2000 + number // 300}-{1 + number // 25 % 12:02}-{1 + number % 25:02}" / "part-0.parquet"
        if not link.exists():
            link.parent.mkdir(parents=True)
            os.link(day / "part-0.parquet", link)
    settings = {"log": str(log), "config": "configs/quickstart.yaml", "batch": BATCH, "warm_up": 0}
    with Side("reader", **settings, overrides=["data.missing_day=skip", "trainer.window_days=1"]) as side:
        return rate_and_memory(side, 1, turns=1)


def rate_and_memory(side: Side, calls: int, turns: int = 2) -> dict:
    rates = [side.rate(calls) for _ in range(turns)]
    return {"examples_per_second": round(max(rates)), "peak_mb": round(side.peak_mb())}


def curves(found: dict) -> dict[str, list[tuple[int, dict]]]:
    """The cases by what grows: its sizes, in order, with their figures."""
    by_kind: dict[str, list] = {}
    for case, figures in found.items():
        kind, _, size = case.rpartition(": ")
        by_kind.setdefault(kind, []).append((int(size), figures))
    return {kind: sorted(points, key=lambda point: point[0]) for kind, points in by_kind.items()}


def picture(found: dict, path: Path):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 6.5))
    for axis, (kind, points) in zip(axes.flat, curves(found).items(), strict=False):
        sizes = [size for size, _ in points]
        axis.plot(sizes, [figures["examples_per_second"] for _, figures in points], "o-", label="examples a second")
        axis.set(xscale="log", xlabel=kind, ylabel="examples a second")
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        memory = axis.twinx()
        memory.plot(sizes, [figures["peak_mb"] for _, figures in points], "s:", color="tab:gray", label="peak MB")
        memory.set_ylim(bottom=0)
        memory.set_ylabel("peak MB (dotted)")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
