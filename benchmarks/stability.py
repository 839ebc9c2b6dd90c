"""Table 2 of Tang et al., 2023, on the KuaiRand slice and on a simulated feed with a shock day.

    make bench-stability       (python -m benchmarks.stability --raw ../shared/data/kuairand-pure-slice)

Runs `tfstable stability` with configs/stability.yaml and configs/stability_feed.yaml, and keeps tables and pictures in
benchmarks/results/stability/. Runs are kept in --work; rerun to resume. docs/stability.md explains the results.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "stability"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", required=True, help="directory of the official CSV files")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-stability"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()

    logs = {name: arguments.work / name / "log" for name in ("kuairand", "feed")}
    tfstable("prepare", "kuairand", "--raw", arguments.raw, "--out", logs["kuairand"])
    for name, config in (("kuairand", "configs/stability.yaml"), ("feed", "configs/stability_feed.yaml")):
        settings = [f"data.path={logs[name]}", *arguments.overrides]
        options = [part for setting in settings for part in ("--set", setting)]
        out = arguments.work / name
        tfstable("stability", "--config", config, "--out", out, *options)
        (RESULTS / name).mkdir(parents=True, exist_ok=True)
        for path in (*out.glob("stability.*"), *out.glob("*.png")):
            shutil.copy(path, RESULTS / name)


def tfstable(*arguments):
    """Runs the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "trainers", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
