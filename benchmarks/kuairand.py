"""AUC of the KuaiRand recipe on every evaluation day, over several seeds; gradient-boosted trees on the last day.

    make bench-kuairand        (python -m benchmarks.kuairand --raw ../shared/data/kuairand-pure-slice)

Writes benchmarks/results/kuairand.json and prints a table. Runs are kept in --work; rerun to resume.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

TASKS = ("is_click", "long_view", "is_like", "is_profile_enter")
# LightGBM, 300 trees, a model a task, the same columns, trained on 2022-04-25 to 05-05 (README of the data slice).
TREES = {"is_click": 0.7085, "long_view": 0.7168, "is_like": 0.7942, "is_profile_enter": 0.7137}
LAST_DAY = "2022-05-06"
RESULTS = Path(__file__).parent / "results" / "kuairand.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", required=True, help="directory of the official CSV files")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-kuairand"))
    parser.add_argument("--config", default="configs/kuairand.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--last", default=LAST_DAY, help="last evaluation day to look at; tune on earlier ones")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    log = arguments.work / "log"
    tfstable("prepare", "kuairand", "--raw", arguments.raw, "--out", log)
    days: dict[str, dict[str, list]] = {}
    for seed in range(arguments.seeds):
        run = arguments.work / f"seed-{seed}"
        settings = [f"data.path={log}", f"trainer.seed={seed}", "export.when=never", *arguments.overrides]
        options = [part for setting in settings for part in ("--set", setting)]
        tfstable("train", "--config", arguments.config, "--model-dir", run, *options)
        for path in sorted(run.glob("windows/*/metrics.json")):
            metrics = json.loads(path.read_text())
            if metrics["eval_day"] and metrics["eval_day"] <= arguments.last:
                day = days.setdefault(metrics["eval_day"], {})
                for task in TASKS:
                    values = metrics["tasks"][task]
                    day.setdefault(task, []).append(
                        {name: values[name] for name in ("auc", "auc_se", "gauc", "logloss")}
                    )
    summary = {day: {task: summarise(runs) for task, runs in tasks.items()} for day, tasks in days.items()}
    print("| day | " + " | ".join(TASKS) + " |\n" + "|---" * (1 + len(TASKS)) + "|")
    for day, tasks in summary.items():
        print(f"| {day} | " + " | ".join(f"{v['auc']:.4f} ± {v['auc_se']:.4f}" for v in tasks.values()) + " |")
    if arguments.last >= LAST_DAY:
        print(f"| trees, {LAST_DAY} | " + " | ".join(f"{TREES[task]:.4f}" for task in TASKS) + " |")
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"trees": TREES, "days": summary}, indent=1) + "\n")


def summarise(runs: list[dict[str, float]]) -> dict:
    """Mean AUC over seeds; `auc_se` is the day's sampling error, `auc_seed_std` the scatter of the seeds."""
    aucs = [run["auc"] for run in runs]
    return {
        "auc": statistics.mean(aucs),
        "auc_se": statistics.mean(run["auc_se"] for run in runs),
        "auc_seed_std": statistics.stdev(aucs) if len(aucs) > 1 else None,
        "aucs": aucs,
        "gauc": statistics.mean(run["gauc"] for run in runs),
        "logloss": statistics.mean(run["logloss"] for run in runs),
    }


def tfstable(*arguments):
    """Runs the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "trainers", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
