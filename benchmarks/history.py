"""The memory of `tfstable history` must not grow with the log.

    make bench-history         (python -m benchmarks.history)

Each case is one command in its own process, on a made-up log of ten days: 200,000 users, of whom the busiest have
thousands of rows, and the last 20 clicks of each row's user. The memory is the most that was resident. Writes
benchmarks/results/history.json.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from tfstable.data.day_writer import ROW_GROUP, day_writer

RESULTS = Path(__file__).parent / "results" / "history.json"
DAYS, USERS = 10, 200_000
SIZES = (1_000_000, 3_000_000, 10_000_000)


def write_made_up_log(out: Path, rows: int) -> None:
    """Writes a log of `DAYS` days whose users are drawn by Zipf's law."""
    share = np.cumsum(np.arange(10, USERS + 10) ** -0.9)
    for day in range(DAYS):
        rng = np.random.default_rng([rows, day])
        size = rows // DAYS
        video = rng.integers(0, 100_000, size)
        columns = {
            "user_id": np.searchsorted(share, rng.random(size) * share[-1]),
            "video_id": video,
            "author_id": video // 10,
            "time_ms": np.sort(rng.integers(day * 86_400_000, (day + 1) * 86_400_000, size)),
            "is_click": (rng.random(size) < 0.4).astype(np.int64),
        }
        table = pa.table(columns)
        with day_writer(out, date(2025, 1, 1) + timedelta(day), table.schema) as writer:
            writer.write_table(table, row_group_size=ROW_GROUP)


def measured(log: Path, out: Path, *more: str) -> dict[str, float]:
    """Runs the command; its seconds and its peak memory."""
    options = ["--by", "user_id", "--of", "video_id,author_id", "--where", "is_click", "--last", "20", *more]
    command = [sys.executable, "-m", "trainers", "history", "--data", str(log), "--out", str(out), *options]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    shutil.rmtree(out)
    return {"seconds": round(time.perf_counter() - start, 1), "peak_mb": round(usage.ru_maxrss / 1024)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--work", type=Path, help="Directory for the logs; by default a temporary one.")
    arguments = parser.parse_args()
    results: dict[str, object] = {"days": DAYS, "users": USERS, "last": 20, "cpus": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        for rows in arguments.rows:
            log, out = Path(work) / "log", Path(work) / "out"
            write_made_up_log(log, rows)
            case = {
                "earlier_days": measured(log, out),
                "within_day": measured(log, out, "--within-day", "time_ms"),
            }
            results[f"{rows} rows"] = case
            print(rows, case, flush=True)
            shutil.rmtree(log)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
