"""Examples per second of the KuaiRand recipe: the window loop with reading, the input pipeline alone, the step
alone.

    make bench-throughput      (python -m benchmarks.throughput --raw ../shared/data/kuairand-pure-slice)

Interleaves the parts in one run, with repeats, and reports medians. Rates belong to this machine; ratios hold on
others. Writes benchmarks/results/throughput.json.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = Path(__file__).parent / "results" / "throughput.json"
REPEATS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files")
    parser.add_argument("--config", type=Path, default=Path("configs/kuairand_columns.yaml"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    started = time.monotonic()
    import tensorflow as tf

    from tfstable.data.window import windows
    from tfstable.sources.kuairand import prepare
    from trainers import Run, load_config

    with tempfile.TemporaryDirectory() as scratch:
        prepare(arguments.raw, Path(scratch) / "log")
        config = load_config(arguments.config, [f"data.path={scratch}/log", *arguments.overrides])
        window = Run.open(config, Path(scratch) / "run").parts()
        log = window.log
        size = config.trainer.batch_size
        every_day = window.state.reader.batches(tuple(log.days), size, config.data.buffer_rows)

        def read_alone():
            # Every row of the log once, from Parquet to ready batches: nothing is read for a second pass from memory.
            every_day = window.state.reader.batches(tuple(log.days), size, config.data.buffer_rows)
            # Counted inside the graph, where training takes its batches: Python would wrap each of 40 tensors.
            window.state.reader.dataset(every_day.one_pass((0, 0)), size).reduce(0, lambda count, *_: count + 1).numpy()
            return every_day.rows

        def iterate(dataset):
            return iter(window.state.strategy.distribute_datasets_from_function(lambda _: dataset))

        def train(iterator, steps):
            while steps > 0:
                count = min(steps, config.trainer.steps_per_call)
                window.state.learner.steps.train(iterator, tf.constant(count)).numpy()
                steps -= count

        one_batch = next(iter(window.state.reader.dataset(every_day.one_pass((0, 0)), size)))
        again = iterate(tf.data.Dataset.from_tensors(one_batch).repeat())

        def step_alone():
            train(again, every_day.steps)
            return every_day.steps * size

        todo = windows(log.days, config.trainer.window_days, config.trainer.stride_days)
        plans = [window.plan(one) for one in todo]

        def window_loop():
            # Every window as the trainer trains it: one stream, each window read while the one before it is trained.
            iterator = iterate(window.state.reader.dataset(window.stream(todo), size))
            for plan in plans:
                train(iterator, plan.total)
            return sum(plan.total / plan.batches.steps * plan.batches.rows for plan in plans)

        def evaluate():
            window.state.predict(log.days[0])
            return log.rows(log.days[0])

        parts = {"window_loop": window_loop, "input_alone": read_alone, "step_alone": step_alone, "predict": evaluate}
        for part in parts.values():
            part()  # Traced, and caches warm.
        start_up = time.monotonic() - started
        rates: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(REPEATS):
            for name, part in parts.items():
                began = time.monotonic()
                rows = part()
                rates[name].append(rows / (time.monotonic() - began))
    median = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "config": str(arguments.config),
        "overrides": arguments.overrides,
        "examples_per_second": {name: round(value) for name, value in median.items()},
        "spread": {name: [round(min(values)), round(max(values))] for name, values in rates.items()},
        "input_alone_over_step_alone": round(median["input_alone"] / median["step_alone"], 2),
        "start_up_seconds": round(start_up, 1),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
