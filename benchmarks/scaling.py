"""The effect of replicas, workers, batch size, window length and faster settings on the speed of this machine.

    make bench-scaling         (python -m benchmarks.scaling)

Each case is one `tfstable train` in its own processes on a simulated log. Cases are interleaved, with repeats, and
medians are reported. Rates belong to this machine; ratios hold on others. The first window does not count, because its
time includes the tracing. Writes benchmarks/results/scaling.json after every case; rerun to do the missing ones.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.trainers.launch import finish, start, start_workers

RESULTS = Path(__file__).parent / "results" / "scaling.json"
CONFIG = """
data: {path: LOG, weight: weight, simulate: {days: 5, rows_per_day: 65536}}
features:
  user_id: {kind: hash, buckets: 100000}
  video_id: {kind: hash, buckets: 100000}
  author_id: {kind: hash, buckets: 100000}
  category: {kind: vocabulary}
  tags: {kind: hash, buckets: 1000, max_values: 3}
  duration_s: {kind: numeric, log1p: true}
  user_followed: {kind: quantile, buckets: 8}
tasks:
  click: {kind: binary}
  follow: {kind: binary}
  watch_time: {kind: regression, label: watch_time_s, transform: log1p}
model: {units: [256, 256], activation: smelu}
trainer: {window_days: 1, batch_size: 2048, tensorboard: false}
evaluation: {batch_size: 16384}
export: {when: never}
"""
SINGLE = ["trainer.strategy=one_device"]
WIDE = ["model.units=[2048,2048,2048,2048]", "trainer.steps=6", "trainer.batch_size=4096"]
CASES = {
    "devices": {
        "one device": SINGLE,
        "2 mirrored logical CPUs": ["trainer.strategy=mirrored", "trainer.devices=2"],
        "2 workers": None,
    },
    "batch": {str(size): [f"trainer.batch_size={size}"] for size in (256, 1024, 4096, 16_384, 65_536)},
    "window_days": {str(days): [f"trainer.window_days={days}"] for days in (1, 2, 4)},
    "xla": {"off": [], "on": ["trainer.xla=true"]},
    "steps_per_call": {str(steps): [f"trainer.steps_per_call={steps}"] for steps in (1, 20)},
    "reader_threads": {str(threads): [f"data.reader_threads={threads}"] for threads in (1, 2)},
    "precision on 4 x 2048": {p: [*WIDE, f"trainer.precision={p}"] for p in ("float32", "mixed_bfloat16")},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.yaml"
        config.write_text(CONFIG.replace("LOG", f"{scratch}/log"))
        subprocess.run([sys.executable, "-m", "trainers", "check", "--config", config], check=True)
        for group, cases in CASES.items():
            if group in found.get("examples_per_second", {}):
                continue
            rates = {case: [] for case in cases}
            for repeat in range(arguments.repeats):
                for case, overrides in cases.items():
                    rates[case].append(_rate(config, Path(scratch) / f"{group}-{case}-{repeat}", overrides))
                    print(f"{group}, {case}: {rates[case][-1]:,.0f} examples/s", flush=True)
            found["machine"] = {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version()}
            of_group = {case: {"median": statistics.median(r), "all": r} for case, r in rates.items()}
            first = next(iter(of_group.values()))["median"]
            for case in of_group.values():
                case["ratio_to_first"] = round(case["median"] / first, 3)
            found.setdefault("examples_per_second", {})[group] = of_group
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def _rate(config: Path, run: Path, overrides: list[str] | None) -> float:
    """Median examples a second over the windows of a run but the first."""
    processes = start_workers(2, config, run) if overrides is None else [start(config, run, *overrides)]
    for process in processes:
        finish(process, seconds=1200)
    windows = sorted((run / "windows").iterdir())[1:]
    return statistics.median(json.loads((w / "metrics.json").read_text())["examples_per_second"] for w in windows)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next(line for line in lines if line.startswith("flags"))
    has = {name: "yes" if name in flags.split() else "no" for name in ("amx_bf16", "avx512_bf16")}
    return f"{names[0]}; " + ", ".join(f"{name}: {answer}" for name, answer in has.items())


if __name__ == "__main__":
    main()
