"""The KuaiRand recipe over several seeds, beside gradient-boosted trees on its raw columns and with counts.

    make bench-kuairand        (python -m benchmarks.kuairand --raw ../shared/data/kuairand-pure-slice)

Writes benchmarks/results/kuairand.json and .md: AUC of every evaluation day, paired differences to both kinds of trees
on the last one, and predicted over observed. `--ablation` also trains the recipe without each of its parts.
Writes benchmarks/results/kuairand_long_view.json as well: the mean of GAUC (weighted by positives) and NDCG@5 of
long_view by user on the last day, the figure of the public KuaiRand-Pure task. `--recipe-only` stops after it.
Runs are kept in --work; rerun to resume.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from benchmarks import kuairand_trees as trees
from tfstable.metrics import auc, auc_difference, gauc, ndcg

TASKS = trees.TASKS
FIRST_DAY, LAST_DAY = "2022-05-02", "2022-05-06"  # Means are of the days from the first to the one before the last.
RESULTS = Path(__file__).parent / "results"
NO_EXPORT = "export.when=never"
PARTS = (
    "counters",
    "histories",
    "averages",
    "slow ids",
    "windows of three days (one day, 2 passes)",
    "a smoothing of 5 rows (20)",
    "many buckets (262,144)",
    "small batches (2048)",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", required=True, help="directory of the official CSV files")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-kuairand"))
    parser.add_argument("--config", default="configs/kuairand.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--last", default=LAST_DAY, help="last evaluation day to look at; tune on earlier ones")
    parser.add_argument("--ablation", action="store_true", help="also train the recipe without each of its parts")
    parser.add_argument("--recipe-only", action="store_true", help="without trees: only the figure of long_view")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the tables")
    arguments = parser.parse_args()

    log = arguments.work / "log"
    tfstable("prepare", "kuairand", "--raw", arguments.raw, "--out", log, "--history")
    rows = trees.read_log(log)
    before = max(day for day in rows["date"].unique() if day < arguments.last)
    settings = [f"data.path={log}", *arguments.overrides]
    runs = [train(arguments, f"seed-{seed}", [*settings, f"trainer.seed={seed}"], before) for seed in seeds(arguments)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    predicted = predictions(arguments, log)
    figure = by_user(rows[rows["date"] == arguments.last], predicted)
    (arguments.out / "kuairand_long_view.json").write_text(json.dumps(figure, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines_of_figure(figure, arguments.last)))
    if arguments.recipe_only:
        return
    found = {
        "days": {day: {t: summarise([run[day][t] for run in runs]) for t in TASKS} for day in runs[0]},
        "last": against_trees(arguments, rows, predicted),
    }
    if arguments.ablation:
        found["without"] = ablation(arguments, settings, before)
    (arguments.out / "kuairand.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    table = "\n".join(tables(found, arguments.last)) + "\n"
    (arguments.out / "kuairand.md").write_text(table, encoding="utf-8")
    print(table)


def seeds(arguments: argparse.Namespace) -> range:
    return range(arguments.seeds)


def train(
    arguments: argparse.Namespace, name: str, settings: list[str], until: str, config: Path | None = None
) -> dict[str, dict]:
    """Trains on the days up to `until`, and returns the metrics of each task on each evaluation day."""
    run = arguments.work / name
    options = [part for setting in [*settings, f"data.until={until}"] for part in ("--set", setting)]
    tfstable("train", "--config", config or arguments.config, "--model-dir", run, *options)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run.glob("windows/*/metrics.json"))]
    return {metrics["eval_day"]: metrics["tasks"] for metrics in found if metrics["eval_day"]}


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
        "calibration": [run["calibration"] for run in runs],
        "positives": runs[0]["positives"],
    }


def predictions(arguments: argparse.Namespace, log: Path) -> list:
    """Returns the predictions of each seed's export for the last day, a table per seed."""
    day, predicted = arguments.last, []
    for seed in seeds(arguments):
        run, file = arguments.work / f"seed-{seed}", arguments.work / f"seed-{seed}-{day}.parquet"
        tfstable("predict", "--export", run / "export" / "latest", "--data", log, "--day", day, "--out", file)
        predicted.append(pq.read_table(file).to_pandas())
    return predicted


def by_user(rows, predicted: list) -> dict:
    """Returns GAUC, NDCG@5 and their mean of long_view, of each seed and of a random order.

    `se` is the standard error of the seeds' mean over other users: of 200 draws of whole users.
    """
    labels, users, number = rows["long_view"].to_numpy(), *np.unique(rows["user_id"], return_inverse=True)[::-1]

    def measure(p: np.ndarray, times: np.ndarray) -> list[float]:
        both = [gauc(labels, p, users, times[users], weighting="positives"), ndcg(labels, p, users, times[users], k=5)]
        return [*both, statistics.mean(both)]

    scores, generator, once = (
        [table["long_view"].to_numpy() for table in predicted],
        np.random.default_rng(0),
        len(number),
    )
    draws = [np.bincount(generator.integers(0, once, once), minlength=once) for _ in range(200)]
    errors = np.std([np.mean([measure(p, times) for p in scores], axis=0) for times in draws], axis=0, ddof=1)
    names = ("gauc", "ndcg@5", "mean")
    each = [measure(p, np.ones(once)) for p in scores]
    found = {
        name: {"mean": statistics.mean(of), "se": float(se), "seeds": list(of)}
        for name, of, se in zip(names, zip(*each, strict=True), errors, strict=True)
    }
    alike = measure(np.zeros(len(labels)), np.ones(once))  # Ties count with their expectation.
    return {"rows": len(labels), "users": once, **found, "random order": dict(zip(names, alike, strict=True))}


def lines_of_figure(figure: dict, day: str) -> list[str]:
    shown = [f"{name} {figure[name]['mean']:.4f} ± {figure[name]['se']:.4f}" for name in ("mean", "gauc", "ndcg@5")]
    chance = ", ".join(f"{value:.4f}" for value in list(figure["random order"].values())[::-1])
    return [f"{day}, long_view by user: {', '.join(shown)} (a random order: mean, NDCG@5, GAUC {chance})", ""]


def against_trees(arguments: argparse.Namespace, rows, predicted: list) -> dict:
    """Returns AUC, calibration and paired differences of the exports and both kinds of trees on the last day."""
    day, of_day = arguments.last, (rows["date"] == arguments.last).to_numpy()
    config = yaml.safe_load(Path(arguments.config).read_text(encoding="utf-8"))
    raw = trees.raw_columns(rows, columns(config, rows))
    inputs = {"raw": raw, "counts": np.concatenate([raw, trees.counts(rows)], axis=1)}
    found = {}
    for task in TASKS:
        labels, ours = rows[task][of_day].to_numpy(), [p[task].to_numpy(np.float64) for p in predicted]
        aucs = [auc(labels, p) for p in ours]
        found[task] = {
            "auc": statistics.mean(aucs),
            "aucs": aucs,
            "calibration": [float(p.sum() / labels.sum()) for p in ours],
            "positives": int(labels.sum()),
        }
        for kind, x in inputs.items():
            theirs = trees.scores(rows, x, day, task)
            pairs = [auc_difference(labels, theirs, p) for p in ours]
            found[task][kind] = {
                "auc": pairs[0].first,
                "difference": statistics.mean(pair.difference for pair in pairs),
                "difference_se": statistics.mean(pair.difference_se for pair in pairs),
                "blend": statistics.mean(auc(labels, logit(p) + logit(theirs)) for p in ours),
            }
    return found


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def columns(config: dict, rows) -> list[str]:
    """Returns the raw columns that the recipe's features read, without histories and counters."""
    names = [f.get("column", name) for name, f in config["features"].items() if f["kind"] not in ("counter", "vector")]
    return [name for name in dict.fromkeys(names) if name in rows and not isinstance(rows[name].iloc[0], np.ndarray)]


def without(config: dict, part: str) -> dict:
    """Returns the recipe without one of its parts."""
    config = copy.deepcopy(config)
    features = config["features"]
    if part == "counters":
        config["features"] = {name: f for name, f in features.items() if f["kind"] != "counter"}
    elif part == "histories":
        for sequence in config["model"].pop("sequences").values():
            for name in sequence["features"]:
                del features[name]
                config["export"]["user_columns"].remove(name)
    elif part == "averages":
        del config["optimizer"]["averaging"]
    elif part == "slow ids":
        for feature in features.values():
            feature.pop("rate", None)
    elif part in ("a smoothing of 5 rows (20)", "many buckets (262,144)"):
        key, value = ("smoothing", 20) if "smoothing" in part else ("buckets", 2**18)
        for feature in features.values():
            if feature["kind"] == "counter":
                feature[key] = value
    elif part == "small batches (2048)":
        config["trainer"]["batch_size"] = 2048
    elif part == "windows of three days (one day, 2 passes)":
        config["trainer"] |= {"window_days": 1, "passes": 2}
    return config


def ablation(arguments: argparse.Namespace, settings: list[str], until: str) -> dict[str, dict[str, float]]:
    """Returns, for each part that is left out, the mean AUC of the tuning days over seeds."""
    whole, found = yaml.safe_load(Path(arguments.config).read_text(encoding="utf-8")), {}
    for number, part in enumerate(PARTS):
        config = arguments.work / f"without-{number}.yaml"
        config.write_text(yaml.safe_dump(without(whole, part), sort_keys=False), encoding="utf-8")
        runs = [
            train(arguments, f"without-{number}-{seed}", [*settings, f"trainer.seed={seed}", NO_EXPORT], until, config)
            for seed in seeds(arguments)
        ]
        found[part] = {task: statistics.mean(tuning_mean(days, task) for days in runs) for task in TASKS}
    return found


def tuning_mean(days: dict[str, dict], task: str) -> float:
    return statistics.mean(of[task]["auc"] for day, of in days.items() if FIRST_DAY <= day < LAST_DAY)


def tables(found: dict, last: str) -> list[str]:
    """Returns the tables in Markdown."""
    head = "| | " + " | ".join(TASKS) + " |\n" + "|---" * (1 + len(TASKS)) + "|"
    row = lambda name, cells: f"| {name} | " + " | ".join(cells) + " |"  # noqa: E731
    lines = ["AUC per evaluation day, mean of the seeds, and the day's standard error.", "", head]
    for day, tasks in found["days"].items():
        lines.append(row(day, [f"{v['auc']:.4f} ± {v['auc_se']:.4f}" for v in tasks.values()]))
    mean = [tuning_mean(found["days"], task) for task in TASKS]
    lines.append(row(f"mean from {FIRST_DAY} on, before {LAST_DAY}", [f"{value:.4f}" for value in mean]))
    for name, tasks in found.get("without", {}).items():
        lines.append(row(f"the same mean without {name}", [f"{tasks[task]:.4f}" for task in TASKS]))
    of_last = [found["last"][task] for task in TASKS]
    lines += ["", f"{last}: the exports of the day before, and trees (LightGBM) trained on the same days.", "", head]
    lines.append(row("recipe", [f"{v['auc']:.4f}" for v in of_last]))
    for kind, name in (("raw", "trees, the same columns"), ("counts", "trees with counts")):
        lines.append(row(name, [f"{v[kind]['auc']:.4f}" for v in of_last]))
        cells = [f"{v[kind]['difference']:+.4f} ± {v[kind]['difference_se']:.4f}" for v in of_last]
        lines.append(row("recipe - trees, paired", cells))
        lines.append(row("mean of both logits", [f"{v[kind]['blend']:.4f}" for v in of_last]))
    lines += ["", f"Predicted over observed, least and greatest of the seeds, days from {FIRST_DAY} on.", "", head]
    ratios = {day: tasks for day, tasks in found["days"].items() if day >= FIRST_DAY} | {last: found["last"]}
    for day, tasks in ratios.items():
        cells = [
            f"{min(tasks[t]['calibration']):.2f} to {max(tasks[t]['calibration']):.2f} "
            f"(± {tasks[t]['positives'] ** -0.5:.2f})"
            for t in TASKS
        ]
        lines.append(row(day, cells))
    return lines


def tfstable(*arguments):
    """Runs the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "trainers", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
