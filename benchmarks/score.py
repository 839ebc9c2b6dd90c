"""Weights of the tasks in `score`, tuned by a metric of whole lists, on a feed whose true utility is known.

    make bench-score      (python -m benchmarks.score)

A simulated log of 10 days with 30,000 rows, 1,000 users and 1,000 videos a day; a model of click, like and share that
trains a day at a time. A click is worth 1, a like 10, a share 40. The utility of a user's list is DCG@10: what its rows
are truly worth in expectation, which the simulator knows, discounted by log2(1 + position). The tuning sees the labels
of days 5 to 9 and starts at 1 for every task; its weights are then measured by the true utility of day 10, beside the
best ones: those of a search over the sphere with the truth of day 10 itself. The same with the true probabilities in
place of the model's, whose best weights are the values; and with other values, each with two seeds of perturbations.

The run is kept in --work; rerun to resume. Writes benchmarks/results/score.json and .md. Cost: about six minutes of one
core.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

K, GRID = 10, 30  # Length of the list; steps of the search over the sphere, per quarter turn.
TASKS = ("click", "like", "share")
VALUES = {"rare labels are worth more": (1.0, 10.0, 40.0), "shares alone": (0.0, 0.0, 1.0)}
SEEDS, METHODS = range(2), ("zero-order", "policy-gradient")
PRESENT = dict.fromkeys(TASKS, 1.0)
CONFIG = """
data: {path: LOG, weight: weight, simulate: {days: 10, rows_per_day: 30000}}
features:
  user_id: {kind: hash, buckets: 20000, dim: 8}
  video_id: {kind: hash, buckets: 10000, dim: 8}
  author_id: {kind: hash, buckets: 10000, dim: 8}
  category: {kind: vocabulary, dim: 8}
  tags: {kind: hash, buckets: 1000, dim: 8, max_values: 4}
  user_country: {kind: vocabulary, dim: 4}
  duration_s: {kind: numeric, log1p: true}
  video_age_days: {kind: numeric, log1p: true}
  user_followed: {kind: numeric, log1p: true}
tasks:
  click: {kind: binary}
  like: {kind: binary, weight: 5}
  share: {kind: binary, weight: 5}
model: {units: [64, 64], activation: smelu, hidden_normalisation: true, wide: true}
optimizer: {dense: {learning_rate: 0.05, clipping: {kind: clippy}}, embeddings: {learning_rate: 0.1}}
trainer: {batch_size: 512, keep_checkpoints: 6, tensorboard: false}
evaluation: {gauc_column: user_id}
export: {when: never}
"""
RESULTS = Path(__file__).parent / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-score"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    from tfstable.files import plain

    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    days, truth = scored(work)
    found = {}
    for name, values in VALUES.items():
        kept = work / f"{name.replace(' ', '_')}.json"
        if not kept.exists():
            kept.write_text(json.dumps(plain(measured(days, truth, np.array(values))), indent=1), encoding="utf-8")
        found[name] = json.loads(kept.read_text(encoding="utf-8"))
    text = "\n".join(table(found)) + "\n"
    (arguments.out / "score.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "score.md").write_text(text, encoding="utf-8")
    print(text)


def scored(work: Path):
    """Trains, unless it is done; returns the scored days with all labels, and the true probabilities of each day."""
    from tfstable.sources.simulate import simulate
    from trainers import Run, load_config
    from trainers.studies.tune_score.days import scored_days

    log = work / "log"
    if not log.exists():
        simulate(work / "log.partial", days=10, rows_per_day=30_000, users=1_000, videos=1_000)
        (work / "log.partial").rename(log)
    config = work / "config.yaml"
    config.write_text(CONFIG.replace("LOG", str(log)), encoding="utf-8")
    run = Run.open(load_config(config), work / "run")
    run.train()
    days = [scored_days(run, {task: 1.0}, "user_id") for task in TASKS]
    truth = []
    for day in days[0]:
        rows = pq.read_table(next((log / f"date={day.day}").glob("*.parquet")))
        truth.append(np.stack([rows[f"true_{task}"].to_numpy() for task in TASKS], axis=1).astype(np.float64))
    return list(zip(*days, strict=True)), truth


def measured(days, truth, values: np.ndarray) -> dict:
    """Tunes with labels of these values, and measures the weights by the true utility of the last day."""
    from dataclasses import replace

    from tfstable.metrics import Lists
    from trainers.studies.tune_score.metric import find_metric
    from trainers.studies.tune_score.tune import tune

    metric = find_metric(f"dcg@{K}", dict(zip(TASKS, values, strict=True)))
    valued = []
    for of_task in days:
        gains = sum(value * day.rows.gains for value, day in zip(values, of_task, strict=True))
        valued.append(replace(of_task[0], rows=of_task[0].rows._replace(gains=gains)))
    as_known = [replace(day, predictions=true) for day, true in zip(valued, truth, strict=True)]
    last, worth = valued[-1].rows, truth[-1] @ values

    def utility(scores: np.ndarray) -> float:
        return Lists(worth, scores, last.groups, last.weights, binary=False).dcg(K).mean

    most = utility(worth)
    found = {"days": [day.day for day in valued], "random order": utility(np.zeros(len(worth))) / most}
    for name, each in {"model": valued, "truth": as_known}.items():
        predictions = each[-1].predictions
        best = max(utility(predictions @ (x / predictions.std(axis=0))) for x in sphere())
        best = max(best, most if name == "truth" else 0.0)
        of = {"best": best / most, "values": utility(predictions @ values) / best}
        of["present"] = utility(predictions.sum(axis=1)) / best
        for method in METHODS:
            of[method] = []
            for seed in SEEDS:
                tuned = tune(each, TASKS, PRESENT, {}, metric, method=method, seed=seed)  # No start at the values.
                weights = np.array([*tuned.weights.values()])
                of[method].append(
                    {
                        "weights": tuned.weights,
                        "of the best": utility(predictions @ weights) / best,
                        "gain by labels": tuned.judgement.second - tuned.judgement.first,
                        "interval": tuned.judgement.interval,
                        "verdict": tuned.verdict,
                    }
                )
        found[name] = of
    return found


def sphere():
    """Directions of three weights, at least one of them positive and none negative: no task is unwelcome here."""
    angles = np.linspace(0, np.pi / 2, GRID + 1)
    for a in angles:
        for b in angles:
            yield np.array([np.cos(a), np.sin(a) * np.cos(b), np.sin(a) * np.sin(b)])


def table(found: dict) -> list[str]:
    """Lines of a table in Markdown: the true utility of the last day, as a share of the best weights'."""
    lines = [
        "| labels are worth | predictions | equal weights | the values as weights | zero-order | policy gradient | "
        "significant by labels |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for name, of_values in found.items():
        shown = ", ".join(f"{task} {value:g}" for task, value in zip(TASKS, VALUES[name], strict=True) if value)
        for kind in ("model", "truth"):
            of = of_values[kind]
            reached = [[each["of the best"] for each in of[method]] for method in METHODS]
            tuned = [f"{min(each):.4f} to {max(each):.4f}" for each in reached]
            verdicts = ", ".join(dict.fromkeys(each["verdict"] for each in of["zero-order"]))
            cells = [shown, kind, f"{of['present']:.4f}", f"{of['values']:.4f}", *tuned, verdicts]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
