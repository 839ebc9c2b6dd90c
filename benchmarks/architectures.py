"""Bottoms and loss weights: shared, MMoE, PLE, ESMM, uncertainty, FAMO, on three logs.

    make bench-architectures      (python -m benchmarks.architectures --raw ../shared/data/kuairand-pure-slice)

kuairand: the recipe kuairand_columns; nothing is tuned, 2022-05-06 is reported beside the mean of 05-02 to 05-05.
feed: a simulated log of 8 days of 10,000 rows; the last two days.
digits: scikit-learn's handwritten digits (Alpaydin, Kaynak, 1998) as rows with four tasks, 1,400 to train on and 397 to
measure, drawn anew by each seed.

The variants differ from "shared" in one key each, with about as many weights. In ESMM a rare task is the product of a
frequent one and what follows it. Runs are trained as by `tfstable reproducibility` and kept in --work; rerun to resume.
Writes benchmarks/results/architectures.json and .md. Cost: about 20 minutes of one core.
"""

import argparse
import functools
import json
import math
import os
import shutil
import statistics
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from trainers.studies.reproducibility.bench import Bench

EXPERTS = {"model.units": "[256]"}
VARIANTS: dict[str, dict[str, str]] = {
    "shared": {},
    "mmoe": EXPERTS | {"model.bottom": "{kind: mmoe, experts: 4, units: [64]}"},
    "ple": EXPERTS | {"model.bottom": "{kind: ple, experts: 2, task_experts: 1, units: [64]}"},
    "esmm": {},
    "uncertainty": {"model.loss_weights": "uncertainty"},
    "famo": {"model.loss_weights": "famo"},
    "uncertainty, weights 1": {"model.loss_weights": "uncertainty"},
    "famo, weights 1": {"model.loss_weights": "famo"},
}
#: Tasks whose own weights are not 1, by log.
WEIGHTED = {"kuairand": ("is_like", "is_profile_enter", "play_time"), "feed": ("like", "share"), "digits": ()}
#: By log: recipe, days measured, tasks, the keys of esmm.
LOGS: dict[str, tuple[str, list[str], tuple[str, ...], dict[str, str]]] = {
    "kuairand": (
        "kuairand_columns",
        [f"2022-05-0{day}" for day in range(2, 7)],
        ("is_click", "long_view", "is_like", "is_profile_enter"),
        {
            "tasks.long_after_click": "{kind: binary, implicit: true}",
            "tasks.long_view": "{kind: binary, product_of: [is_click, long_after_click]}",
        },
    ),
    "feed": (
        "quickstart",
        ["2025-01-07", "2025-01-08"],
        ("click", "like", "share"),
        {
            "tasks.like_after_click": "{kind: binary, implicit: true}",
            "tasks.like": "{kind: binary, weight: 5, product_of: [click, like_after_click], truth: true_like}",
        },
    ),
    "digits": (
        "digits",
        ["2025-01-02"],
        ("even", "large", "eight", "prime"),
        {
            "tasks.eight_of_even": "{kind: binary, implicit: true}",
            "tasks.eight": "{kind: binary, product_of: [even, eight_of_even]}",
        },
    ),
}
DIGITS = """
data: {path: unset}
features:
  pixels: {kind: vector, width: 64, normalise: layer}
tasks: {even: {kind: binary}, large: {kind: binary}, eight: {kind: binary}, prime: {kind: binary}}
model: {units: [256, 256], activation: smelu, hidden_normalisation: true, tower_units: [16]}
optimizer: {dense: {learning_rate: 0.05, clipping: {kind: clippy}}}
trainer: {batch_size: 128, passes: 8}
"""
RESULTS = Path(__file__).parent / "results"
Run = dict[str, dict[str, float]]  # AUC by day and task.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files of KuaiRand")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-architectures"))
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=list(LOGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "architectures.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for log in arguments.logs:
        runs: dict[str, list[Run]] = {name: [] for name in VARIANTS if WEIGHTED[log] or "weights" not in name}
        for seed in range(arguments.seeds):  # Seed by seed, so that what is there can be compared.
            for name in runs:
                runs[name].append(trained(arguments, log, name, seed))
        found[log] = {name: summary(log, own) for name, own in runs.items()}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(table(found)) + "\n"
    (arguments.out / "architectures.md").write_text(text, encoding="utf-8")
    print(text)


def trained(arguments: argparse.Namespace, log: str, name: str, seed: int) -> Run:
    """Returns a run: AUC by measured day and task."""
    path = arguments.work / f"{log}, {name}, seed {seed}.json"
    if not path.exists():
        from trainers.studies.reproducibility.config import Plan

        recipe, days, tasks, esmm = LOGS[log]
        keys = VARIANTS[name] | (esmm if name == "esmm" else {}) | {"data.path": str(log_of(arguments, log, seed))}
        if name.endswith("weights 1"):
            keys |= {f"tasks.{task}.weight": "1" for task in WEIGHTED[log]}
        bench = bench_of(arguments.work, recipe, *keys.items())
        trainer = bench.config.trainer.model_copy(update={"seed": seed})
        config = bench.config.model_copy(update={"trainer": trainer})
        record, _ = bench.train(Plan(config, seed, 1, len(days), 0))
        found = {day: {task: record["days"][day][task]["auc"] for task in tasks} for day in days}
        print(f"{path.stem}: {record['seconds']:.0f} s", flush=True)
        path.with_suffix(".partial").write_text(json.dumps(found), encoding="utf-8")
        path.with_suffix(".partial").rename(path)
    run: Run = json.loads(path.read_text(encoding="utf-8"))
    return run


@functools.lru_cache(maxsize=1)
def bench_of(work: Path, recipe: str, *keys: tuple[str, str]) -> "Bench":
    from trainers.config import load
    from trainers.studies.reproducibility.bench import Bench
    from trainers.training.check import open_log

    path = Path("configs") / f"{recipe}.yaml"
    if recipe == "digits":
        path = work / "digits.yaml"
        path.write_text(DIGITS, encoding="utf-8")
    config = load(path, [f"{key}={value}" for key, value in keys])
    return Bench(config, open_log(config))


def log_of(arguments: argparse.Namespace, log: str, seed: int) -> Path:
    """Makes the log if it is not there."""
    path: Path = arguments.work / f"log-{log}"
    if log == "kuairand":
        from tfstable.sources.kuairand import prepare_with_histories

        prepare_with_histories(arguments.raw, path)
        return path
    if log == "digits":
        path = path.with_name(f"log-digits-{seed}")
    if path.exists():
        return path
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    if log == "feed":
        from tfstable.sources.simulate import simulate

        simulate(partial, days=8, rows_per_day=10_000, users=1_000, videos=400)
    else:
        write_digits(partial, seed)
    partial.rename(path)
    return path


def write_digits(path: Path, seed: int) -> None:
    """Writes two days: rows to train on, and rows to measure."""
    from sklearn.datasets import load_digits

    from tfstable.sources import write_log

    digits = load_digits()
    rows = pd.DataFrame({"pixels": list(digits.data.astype(np.float32))})
    rows["even"], rows["large"] = digits.target % 2 == 0, digits.target >= 5
    rows["eight"], rows["prime"] = digits.target == 8, np.isin(digits.target, (2, 3, 5, 7))
    order = np.random.default_rng(seed).permutation(len(rows))
    rows = rows.astype({name: np.int64 for name in rows.columns if name != "pixels"}).iloc[order]
    rows["day"] = [date(2025, 1, 1)] * 1400 + [date(2025, 1, 2)] * (len(rows) - 1400)
    write_log(rows, path, day="day")


def summary(log: str, runs: list[Run]) -> dict[str, dict[str, list[float]]]:
    """Returns AUC by task and column of the table, one per seed."""
    _, days, tasks, _ = LOGS[log]
    columns = {"2022-05-02 to 05-05": days[:-1], days[-1]: days[-1:]} if log == "kuairand" else {"AUC": days}
    return {
        task: {
            name: [round(statistics.mean(run[d][task] for d in of), 5) for run in runs] for name, of in columns.items()
        }
        for task in tasks
    }


def table(found: dict[str, Any]) -> list[str]:
    """Returns the tables in Markdown: AUC of shared, and differences from it with paired 95% intervals over seeds."""
    lines = []
    for log, variants in found.items():
        tasks, columns = list(variants["shared"]), list(next(iter(variants["shared"].values())))
        for column in columns:
            seeds = len(variants["shared"][tasks[0]][column])
            title = log if column == "AUC" else f"{log}, {column}"
            lines += [f"{title}: AUC of shared, then differences from it, {seeds} seeds", ""]
            lines += [f"| variant | {' | '.join(tasks)} |", "|---" * (1 + len(tasks)) + "|"]
            shared = " | ".join(f"{statistics.mean(variants['shared'][task][column]):.4f}" for task in tasks)
            lines.append(f"| shared, fixed | {shared} |")
            for name, of_task in variants.items():
                if name != "shared":
                    cells = (difference(of_task[t][column], variants["shared"][t][column]) for t in tasks)
                    lines.append(f"| {name} | {' | '.join(cells)} |")
            lines.append("")
    return lines[:-1]


def difference(ours: list[float], theirs: list[float]) -> str:
    """The mean of paired differences with the half-width of its 95% interval, after Student."""
    apart = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(apart) < 2:
        return f"{apart[0]:+.4f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(apart) - 1) * statistics.stdev(apart) / math.sqrt(len(apart))
    return f"{statistics.mean(apart):+.4f} ± {half:.4f}"


if __name__ == "__main__":
    main()
