"""The layers that read a history, in a ranking model: AUC, and the seconds of a training.

    python -m benchmarks.history_readers --raw ../shared/data/kuairand-pure-slice

The recipe configs/kuairand_columns.yaml with the videos and authors that a user clicked (two ids of 8, tables shared
with the candidate), read by ReZero's encoder or decoder, by target attention, or as their mean: RUNS trainings each,
which differ in their seed, judged on the last day. Runs `tfstable reproducibility`, which keeps its trainings in
--work; rerun to resume. Writes benchmarks/results/history_readers.md and .json. Cost: about 10 minutes of one core.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.rank_histories import with_history

RESULTS = Path(__file__).parent / "results"
READERS, RUNS = ("decoder", "encoder", "target", "mean"), 3


def config_of(log: Path) -> dict:
    """The config of the grid: the recipe with each reader."""
    config = with_history(READERS[0])
    curves = {reader: [{"model.sequences": with_history(reader)["model"]["sequences"]}] for reader in READERS}
    grid = {"runs": RUNS, "tasks": ["is_click", "long_view"], "curves": curves}
    config.pop("export")  # A grid exports nothing.
    return {**config, "data": {**config["data"], "path": str(log)}, "reproducibility": grid}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-history-readers"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    log, config, out = (arguments.work / name for name in ("log", "config.yaml", "grid"))
    command = [sys.executable, "-m", "trainers"]
    if not log.exists():
        subprocess.run([*command, "prepare", "kuairand", "--raw", arguments.raw, "--out", log, "--history"], check=True)
    config.write_text(yaml.safe_dump(config_of(log)), encoding="utf-8")
    subprocess.run([*command, "reproducibility", "--config", config, "--out", out], check=True)
    for suffix in ("md", "json"):
        shutil.copy(out / f"reproducibility.{suffix}", arguments.out / f"history_readers.{suffix}")


if __name__ == "__main__":
    main()
