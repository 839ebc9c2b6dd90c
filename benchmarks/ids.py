"""Ids that come and go: against hashing and a fixed vocabulary on a feed of 60 days, and the speed of look-ups.

    make bench-ids             (python -m benchmarks.ids)

The feed has about 4,000 videos a day, 200 of them new, and 15,800 in all. Only `video_id` differs between the models;
the rest is configs/quickstart.yaml with windows of one day and batches of 512. Each day is predicted before it is
trained. The mean AUC is over the last 30 of the days, for three seeds; `rows` are those of the table. Look-ups are of
10^7 ids on one core. Writes benchmarks/results/ids.json and .md; runs are kept in --work, and a re-run resumes.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import yaml

from trainers.training.check import simulate_whole

RESULTS = Path(__file__).parent / "results"
FEED = {"days": 60, "rows_per_day": 30_000, "users": 3_000, "videos": 4_000, "seed": 0}
LAST, SEEDS = 30, (0, 1, 2)
ROWS = 4_000
KINDS = {
    "id": {"kind": "id", "capacity": ROWS, "expire_days": 7},
    "hash": {"kind": "hash", "buckets": ROWS},
    "hash, ten times the rows": {"kind": "hash", "buckets": 10 * ROWS},
    "vocabulary of the first day": {"kind": "vocabulary", "max_size": ROWS},
    "vocabulary that grows": {"kind": "vocabulary", "max_size": ROWS, "grow": True},
    "id, ten times the rows": {"kind": "id", "capacity": 10 * ROWS},
}
SETTINGS = ("trainer.window_days=1", "trainer.batch_size=512", "trainer.tensorboard=false", "export.when=never")
IDS, QUERIES = 10**7, 5_000_000


def auc_by_day(work: Path, kind: str, seed: int) -> list[float]:
    """AUC of click on each day before it is trained, in order of time."""
    run = work / f"{kind.replace(', ', '-').replace(' ', '-')}-{seed}"
    config = yaml.safe_load((Path(__file__).parents[1] / "configs/quickstart.yaml").read_text())
    config["features"]["video_id"] = KINDS[kind]
    config["data"] = {"path": str(work / "feed"), "weight": "weight"}
    (work / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    settings = [word for value in (*SETTINGS, f"trainer.seed={seed}") for word in ("--set", value)]
    command = [
        sys.executable,
        "-m",
        "trainers",
        "train",
        "--config",
        str(work / "config.yaml"),
        "--model-dir",
        str(run),
    ]
    subprocess.run([*command, *settings], check=True, stdout=subprocess.DEVNULL)
    records = [json.loads((day / "metrics.json").read_text()) for day in sorted((run / "windows").iterdir())]
    return [record["tasks"]["click"]["auc"] for record in records if record["tasks"]]


def best_auc(work: Path) -> float:
    """Mean over the last days of the AUC of the true probabilities."""
    import pyarrow.dataset as ds

    from tfstable.metrics import auc

    rows = [
        ds.dataset(day).to_table(["click", "true_click", "weight"])
        for day in sorted((work / "feed").glob("date=*"))[-LAST:]
    ]
    return float(
        np.mean([auc(*(table[name].to_numpy() for name in ("click", "true_click", "weight"))) for table in rows])
    )


def lookups(text: bool) -> dict[str, float]:
    """Look-ups a second on one core, and bytes per id, in memory and in an export."""
    os.sched_setaffinity(0, {0})
    import pyarrow as pa
    import tensorflow as tf

    from tfstable.inputs.id_table import IdTable
    from tfstable.inputs.ids import IdMap

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rng = np.random.default_rng(0)
    numbers = np.unique(rng.integers(-(2**62), 2**62, IDS + 1000))[:IDS]
    rng.shuffle(numbers)
    ids = pa.array([f"id_{number}" for number in numbers]) if text else pa.array(numbers)
    known = pa.table({"id": ids, "row": pa.array(np.arange(1, IDS + 1, dtype=np.int32))})
    before = _resident()
    began = time.perf_counter()
    table = IdTable(IdMap(known))
    built = time.perf_counter() - began
    grown = _resident() - before
    asked = rng.integers(0, IDS, QUERIES)
    queries = tf.constant(ids.take(pa.array(asked)).to_numpy(zero_copy_only=False))
    find = tf.function(table.__call__, input_signature=[tf.TensorSpec([None], queries.dtype)])
    np.testing.assert_array_equal(find(queries).numpy(), asked + 1)
    seconds = min(_seconds(lambda: find(queries)) for _ in range(5))
    exported = Path("/tmp") / f"tfstable-ids-{os.getpid()}"
    module = tf.Module()
    module.table = table
    tf.saved_model.save(module, str(exported), signatures=find)
    size = sum(file.stat().st_size for file in exported.rglob("*") if file.is_file())
    subprocess.run(["rm", "-r", str(exported)], check=True)
    return {
        "million a second": QUERIES / seconds / 1e6,
        "bytes per id in an export": size / IDS,
        "bytes per id in memory": grown / IDS,
        "seconds to build": built,
    }


def _resident() -> int:
    """Bytes of memory in use, without what has been freed."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _seconds(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench_ids"))
    parser.add_argument("--lookups", choices=("int64", "string"), help=argparse.SUPPRESS)  # In a process of its own.
    arguments = parser.parse_args()
    if arguments.lookups:
        print(json.dumps(lookups(arguments.lookups == "string")))
        return
    if not (arguments.work / "feed").exists():
        simulate_whole(arguments.work / "feed", **FEED)
    aucs = {kind: [float(np.mean(auc_by_day(arguments.work, kind, s)[-LAST:])) for s in SEEDS] for kind in KINDS}
    speed = {}
    for dtype in ("int64", "string"):
        command = [sys.executable, "-m", "benchmarks.ids", "--lookups", dtype]
        speed[dtype] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    results = {"feed": FEED, "best": best_auc(arguments.work), "auc": aucs, "lookups": speed}
    (RESULTS / "ids.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "ids.md").write_text(_markdown(results))
    print(_markdown(results))


def _markdown(results: dict) -> str:
    lines = ["| video_id | rows | AUC of click | standard error |", "| --- | --- | --- | --- |"]
    for kind, values in results["auc"].items():
        spec = KINDS[kind]
        rows = spec.get("capacity") or spec.get("buckets") or spec["max_size"]
        error = np.std(values, ddof=1) / len(values) ** 0.5
        lines.append(f"| {kind} | {rows:,} | {np.mean(values):.4f} | {error:.4f} |")
    lines += [f"| best attainable | | {results['best']:.4f} | |", ""]
    names = list(next(iter(results["lookups"].values())))
    lines += ["| 10^7 ids | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for dtype, figures in results["lookups"].items():
        lines.append(f"| {dtype} | " + " | ".join(f"{figures[name]:.1f}" for name in names) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
