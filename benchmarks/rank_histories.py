"""Latency of `rank` with a history of 50 positions, compared with the same recipe without one.

    make bench-rank      (python -m benchmarks.rank_histories --raw ../shared/data/kuairand-pure-slice; 4 minutes)

The recipe configs/kuairand_columns.yaml without a history, and with the videos and authors that a user clicked (two
ids of 8, tables shared with the candidate) under each kind of attention. One user, 500 candidates; a full history,
and one of the median length on the last day. Runs through TensorFlow's C API, as a server does, in one process per
number of threads. The sides take turns, so that other load affects all of them; a ratio is the median over the turns.
The aim is 1.5 with `target`; measured: 1.4 on two threads, 1.5 to 1.6 on one. Writes
benchmarks/results/rank_histories.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import yaml

RESULTS = Path(__file__).parent / "results" / "rank_histories.json"
SIDES = ("none", "target", "decoder", "encoder", "mean")
CANDIDATES, THREADS, LENGTHS = 500, (1, 2), (50, 4)
HISTORY = {"seen_video": "video_id", "seen_author": "author_id"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files")
    parser.add_argument("--turns", type=int, default=150)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        prepare(arguments.raw, Path(scratch))
        result = {
            "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
            "candidates": CANDIDATES,
            "turns": arguments.turns,
            "threads": {},
        }
        for threads in THREADS:
            program = (
                f"from benchmarks import rank_histories as r; r.latency({scratch!r}, {threads}, {arguments.turns})"
            )
            done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            result["threads"][str(threads)] = json.loads(done.stdout.splitlines()[-1])
    result["load_average"] = os.getloadavg()
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def prepare(raw: Path, work: Path):
    """Trains every side for a few steps (weights cost the same whatever they are) and exports it."""
    command = [sys.executable, "-m", "trainers"]
    subprocess.run([*command, "prepare", "kuairand", "--raw", raw, "--out", work / "log", "--history"], check=True)
    settings = [f"data.path={work / 'log'}", "trainer.steps=20", "trainer.stride_days=4", "trainer.tensorboard=false"]
    for side in SIDES:
        config = work / f"{side}.yaml"
        config.write_text(yaml.safe_dump(with_history(side)))
        train = [*command, "train", "--config", config, "--model-dir", work / side]
        done = [*train, *(item for s in settings for item in ("--set", s))]
        subprocess.run(done, check=True, stdout=subprocess.DEVNULL)


def with_history(attention: str) -> dict:
    """The recipe with a history that is read with this attention; "none": the recipe itself."""
    config = yaml.safe_load(Path("configs/kuairand_columns.yaml").read_text())
    if attention != "none":
        for name, table in HISTORY.items():
            config["features"][name] = {"kind": "hash", "buckets": 32768, "dim": 8, "table": table, "max_values": 50}
        query = {} if attention == "mean" else {"query": list(HISTORY.values())}
        config["model"]["sequences"] = {"seen": {"features": list(HISTORY), "attention": attention, **query}}
        config["export"]["user_columns"] += list(HISTORY)
    return config


def latency(work: str, threads: int, turns: int):
    """Prints p50 of each side in milliseconds and its ratio to the recipe without a history, by the lists' length."""
    from benchmarks.c_api import Client

    clients = {side: Client(Path(work) / side / "export" / "1", "rank", threads) for side in SIDES}
    result = {}
    for length in LENGTHS:
        for side, one in clients.items():
            one.feed(request(Path(work), side, length))
        seconds = {side: [] for side in SIDES}
        for turn in range(-10, turns):
            at = turn % len(SIDES)
            for side in SIDES[at:] + SIDES[:at]:  # Each side comes after each other one.
                began = time.perf_counter()
                clients[side].run()
                took = time.perf_counter() - began
                clients[side].results() if turn == -10 else clients[side].free()  # The first: did it work?
                if turn >= 0:
                    seconds[side].append(took)
        plain = np.array(seconds["none"])
        result[f"history of {length}"] = {
            side: {
                "p50_ms": round(1e3 * statistics.median(values), 3),
                "p10_ms": round(1e3 * float(np.percentile(values, 10)), 3),
                "to_none": round(float(np.median(np.array(values) / plain)), 3),
            }
            for side, values in seconds.items()
        }
    print(json.dumps(result))


def request(work: Path, side: str, length: int) -> dict[str, np.ndarray]:
    """The first user of a day before the day's first videos, and as history the first videos again."""
    from tfstable.data.arrays import raw_batches
    from tfstable.data.log import DayLog
    from trainers.config import load
    from trainers.store.run_directory import RunDirectory

    config = load(work / side / "params.yaml")
    columns, users = RunDirectory(work / side, config).statistics().columns, config.export.user_columns
    log = DayLog(work / "log")
    batch = next(raw_batches(log.units(log.days[-3]), columns))
    raw = {name: values[:1] if name in users else values[:CANDIDATES] for name, values in batch.items()}
    return raw | {name: batch[of][None, :length] for name, of in HISTORY.items() if name in raw}


if __name__ == "__main__":
    main()
