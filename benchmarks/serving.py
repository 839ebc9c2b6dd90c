"""Latency of `rank` compared with a plain TFRS export of the same model: one user, many candidates, raw features.

    pip install -e '.[test,peers]'
    python -m benchmarks.serving --raw ../shared/data/kuairand-pure-slice     # about 5 minutes; make bench-serving

The plain export scores N rows in which the user's columns are repeated; `rank` takes them once. Both run the recipe
configs/kuairand_columns.yaml (34 features, 29 raw columns) through TensorFlow's C API, as a server does, in one
process per number of threads. The sides take turns within the process, so that other load on the machine affects all
of them. A ratio is the median over the turns. Cold start is the time from a folder to the first answer, in one
process per side and turn. Writes benchmarks/results/serving.json.
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
from datetime import date
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

RESULTS = Path(__file__).parent / "results" / "serving.json"
CANDIDATES, THREADS = (100, 500, 2000), (1, 2)
SIDES = {
    "rank": ("export", "rank"),
    "serving_default": ("export", "serving_default"),
    "tfrs": ("peer", "serving_default"),
}
FOLDERS = {"tfstable": "export", "tfrs": "peer"}
DAY = "2022-05-04"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files")
    parser.add_argument("--turns", type=int, default=400, help="turns with 100 candidates; fewer with more")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        prepare(arguments.raw, work)
        result = {
            "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
            "config": "configs/kuairand_columns.yaml",
            "turns": {str(n): turns(arguments.turns, n) for n in CANDIDATES},
            "threads": {str(n): measured(work, "latency", n, arguments.turns) for n in THREADS},
            "cold_start_seconds": cold_start(work),
            "megabytes": {name: round(size(work / folder) / 1e6, 1) for name, folder in FOLDERS.items()},
            "load_average": os.getloadavg(),
        }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def prepare(raw: Path, work: Path):
    """Trains the recipe for a few steps (weights cost the same whatever they are) and exports both sides."""
    command = [sys.executable, "-m", "trainers"]
    subprocess.run([*command, "prepare", "kuairand", "--raw", raw, "--out", work / "log"], check=True)
    settings = [f"data.path={work / 'log'}", "trainer.steps=20", "trainer.stride_days=4", "trainer.tensorboard=false"]
    train = [*command, "train", "--config", "configs/kuairand_columns.yaml", "--model-dir", work / "run"]
    subprocess.run([*train, *(item for s in settings for item in ("--set", s))], check=True, stdout=subprocess.DEVNULL)
    (work / "export").symlink_to(work / "run" / "export" / "1")
    peer = [sys.executable, "-m", "benchmarks.serving_peer", work / "run", work / "peer"]
    subprocess.run(peer, check=True, env={**os.environ, "TF_USE_LEGACY_KERAS": "1"}, stderr=subprocess.DEVNULL)


def measured(work: Path, what: str, *arguments) -> dict:
    """Runs one of the parts below in a process of its own."""
    program = f"from benchmarks import serving; serving.{what}({str(work)!r}, *{arguments!r})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def turns(most: int, candidates: int) -> int:
    return max(150, most * 300 // (candidates + 200))


def latency(work: str, threads: int, most: int):
    """Prints p50 and p99 of each side in milliseconds, and the ratios to the plain export, by number of candidates."""
    clients = {name: client(work, name, threads) for name in SIDES}
    result = {}
    for n in CANDIDATES:
        for name, one in clients.items():
            one.feed(request(work, one, n, name))
        seconds = {name: [] for name in SIDES}
        for turn in range(-10, turns(most, n)):
            names = list(clients)
            for name in names[turn % 3 :] + names[: turn % 3]:  # Each side comes after each other one.
                one = clients[name]
                began = time.perf_counter()
                one.run()
                took = time.perf_counter() - began
                one.results() if turn == -10 else one.free()  # The first turn also tells whether it worked.
                if turn >= 0:
                    seconds[name].append(took)
        plain = np.array(seconds["tfrs"])
        result[str(n)] = {
            name: {
                "p50_ms": round(1e3 * float(np.percentile(values, 50)), 3),
                "p99_ms": round(1e3 * float(np.percentile(values, 99)), 3),
                "to_tfrs": round(float(np.median(np.array(values) / plain)), 3),
                "p50_to_p50_of_tfrs": round(float(np.median(values) / np.median(plain)), 3),
            }
            for name, values in seconds.items()
        }
    print(json.dumps(result))


def cold_start(work: Path, repeats: int = 5) -> dict[str, float]:
    """Seconds from the folder to the first answer, medians of processes of their own, in turns."""
    seconds = {name: [] for name in SIDES if name != "serving_default"}
    for _ in range(repeats):
        for name, values in seconds.items():
            values.append(measured(work, "first_answer", name)["seconds"])
    return {name: round(statistics.median(values), 3) for name, values in seconds.items()}


def first_answer(work: str, name: str):
    from benchmarks import c_api  # noqa: F401  (the library itself is loaded before the clock starts)

    began = time.perf_counter()
    one = client(work, name, 2)
    loaded = time.perf_counter() - began
    one.feed(request(work, one, 100, name))
    began = time.perf_counter()
    one.run()
    seconds = loaded + time.perf_counter() - began
    one.results()
    print(json.dumps({"seconds": seconds}))


def client(work: str, name: str, threads: int):
    from benchmarks.c_api import Client

    folder, signature = SIDES[name]
    return Client(Path(work) / folder, signature, threads)


def request(work: str, one, n: int, name: str) -> dict[str, np.ndarray]:
    """The first user of a day before the day's first n videos: as `rank` takes it, or with the user repeated."""
    from tfstable.data.arrays import raw_batches
    from tfstable.data.log import DayLog
    from trainers.config import load
    from trainers.store.run_directory import RunDirectory

    config = load(Path(work) / "run/params.yaml")
    columns, users = RunDirectory(Path(work) / "run", config).statistics().columns, config.export.user_columns
    batch = next(raw_batches(DayLog(Path(work) / "log").units(date.fromisoformat(DAY)), columns))
    first = [0] if name == "rank" else [0] * n
    return {column: values[first] if column in users else values[:n] for column, values in batch.items()}


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.resolve().rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
