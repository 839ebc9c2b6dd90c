"""Rate of the input pipeline with ten counters over the rate of the training step: KuaiRand, on one core and on two.

    make bench-counters      (python -m benchmarks.counters --raw ../shared/data/kuairand-pure-slice; 3 minutes)

The recipe configs/kuairand_columns.yaml with ten counters of its four binary tasks. The input: every row of the log
once, from Parquet to ready batches, with all days counted anew. The step: as many batches, one that is ready again
and again. They take turns in one process per number of cores; a ratio is the median over the turns. The aim is 2, so
that training hardly waits for its input. Writes benchmarks/results/counters.json.
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
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import yaml

from benchmarks.kuairand_trees import KEYS, TASKS

RESULTS = Path(__file__).parent / "results" / "counters.json"
TURNS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    from tfstable.sources.kuairand import prepare

    result = {
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "turns": TURNS,
        "cores": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        prepare(arguments.raw, Path(scratch) / "log")
        config = yaml.safe_load(Path("configs/kuairand_columns.yaml").read_text())
        config["features"] |= {"count_" + "_".join(by): {"kind": "counter", "by": by, "of": list(TASKS)} for by in KEYS}
        config["data"]["path"] = f"{scratch}/log"
        (Path(scratch) / "config.yaml").write_text(yaml.safe_dump(config))
        for cores in (1, 2):
            program = f"from benchmarks import counters; counters.rates({scratch!r}, {cores})"
            done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            result["cores"][str(cores)] = json.loads(done.stdout.splitlines()[-1])
    result["load_average"] = os.getloadavg()
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def rates(work: str, cores: int):
    """Prints examples per second of input and step, and their ratio."""
    os.sched_setaffinity(0, set(range(cores)))  # Before TensorFlow counts them.
    import tensorflow as tf

    from trainers import Run, load_config

    config = load_config(Path(work) / "config.yaml")
    run = Run.open(config, Path(work) / f"run_{cores}").parts()
    reader, log, size = run.state.reader, run.log, config.trainer.batch_size

    def dataset():
        plan = reader.batches(tuple(log.days), size, config.data.buffer_rows)
        return plan, reader.dataset(plan.one_pass((0, 0)), size)

    def read():
        plan, batches = dataset()
        batches.reduce(0, lambda count, *_: count + 1).numpy()  # In the graph, where training takes them.
        return plan.rows

    plan, batches = dataset()
    again = tf.data.Dataset.from_tensors(next(iter(batches))).repeat()
    iterator = iter(run.state.strategy.distribute_datasets_from_function(lambda _: again))

    def step():
        for first in range(0, plan.steps, config.trainer.steps_per_call):
            steps = min(config.trainer.steps_per_call, plan.steps - first)
            run.state.learner.steps.train(iterator, tf.constant(steps)).numpy()
        return plan.steps * size

    parts = {"input": read, "step": step}
    found: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(-1, TURNS):  # The first traces, and warms the caches.
        reader.counted.forget(log.days[-1] + timedelta(2))  # All days, so that the input counts them anew.
        for name, part in parts.items():
            began = time.monotonic()
            rows = part()
            if turn >= 0:
                found[name].append(rows / (time.monotonic() - began))
    ratios = [a / b for a, b in zip(found["input"], found["step"], strict=True)]
    print(
        json.dumps(
            {
                "examples_per_second": {name: round(statistics.median(values)) for name, values in found.items()},
                "input_over_step": round(statistics.median(ratios), 2),
                "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            }
        )
    )


if __name__ == "__main__":
    main()
