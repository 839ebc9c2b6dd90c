"""The widened table 2 of Tang et al., 2023, on the KuaiRand slice and on a simulated feed with a shock day.

    make bench-stability       (python -m benchmarks.stability --raw ../shared/data/kuairand-pure-slice)

Runs `tfstable stability` with configs/stability.yaml and configs/stability_feed.yaml, and again with other seeds at the
rate 1x of the first run, and keeps tables and pictures in benchmarks/results/stability/. What the second run bears out
is in claims.md of each. Runs are kept in --work; rerun to resume. Cost: hours of one core; `--only` does one part.
docs/stability.md explains the results.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.stability_claims import claims

RESULTS = Path(__file__).parent / "results" / "stability"
CONFIGS = {"kuairand": "configs/stability.yaml", "feed": "configs/stability_feed.yaml"}
AGAIN = "_again"
PARTS = [f"{name}{again}" for name in CONFIGS for again in ("", AGAIN)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", required=True, help="directory of the official CSV files")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-stability"))
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()

    logs = {name: arguments.work / name / "log" for name in CONFIGS}
    for part in arguments.only or PARTS:
        name = part.removesuffix(AGAIN)
        if name == "kuairand":
            tfstable("prepare", "kuairand", "--raw", arguments.raw, "--out", logs[name])
        settings = [f"data.path={logs[name]}", *arguments.overrides]
        if part.endswith(AGAIN):  # Its breaks would cost as much again: those of the best thresholds.
            rate = json.loads((RESULTS / name / "stability.json").read_text())["rate"]
            settings += ["trainer.seed=100", "stability.breaks=best", "stability.poison=null", "stability.cost=false"]
            settings += [f"stability.rates=[{rate}]"]
        options = [option for setting in settings for option in ("--set", setting)]
        out = arguments.work / part
        tfstable("stability", "--config", CONFIGS[name], "--out", out, *options)
        (RESULTS / part).mkdir(parents=True, exist_ok=True)
        for path in (*out.glob("stability.*"), *(() if part.endswith(AGAIN) else out.glob("*.png"))):
            shutil.copy(path, RESULTS / part)
    for name in CONFIGS:
        tables = [RESULTS / part / "stability.json" for part in (name, name + AGAIN)]
        if all(path.exists() for path in tables):
            first, second = (json.loads(path.read_text()) for path in tables)
            (RESULTS / name / "claims.md").write_text(claims(first, second))


def tfstable(*arguments):
    """Runs the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "trainers", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
