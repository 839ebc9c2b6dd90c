"""What the metrics of a day cost, beside one AUC.

    make bench-metrics        (python -m benchmarks.metrics_cost)

A million rows in 100,000 groups, one task; the least CPU time of five measurements on one core. Writes
benchmarks/results/metrics_cost.json.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfstable import metrics
from trainers.training import measures
from trainers.training.task_rows import HeldRows, TaskRows

ROWS, GROUPS = 1_000_000, 100_000


def main():
    rng = np.random.default_rng(0)
    labels, p = (rng.random(ROWS) < 0.1).astype(np.float32), rng.random(ROWS).astype(np.float32)
    weights, groups = np.ones(ROWS), rng.integers(0, GROUPS, ROWS).astype(float)
    rows = TaskRows(labels, weights, slice(None), HeldRows(labels, weights))
    lists = metrics.Lists(labels, p, groups)
    work: dict[str, Callable[[], object]] = {
        "auc": lambda: metrics.auc(labels, p),
        "pr_auc with its error": lambda: metrics.average_precision(labels, p),
        "ne": lambda: metrics.normalised_entropy(labels, p),
        "ece": lambda: metrics.expected_calibration_error(labels, p),
        "gauc": lambda: metrics.gauc(labels, p, groups),
        "sorting the lists": lambda: metrics.Lists(labels, p, groups),
        "then ndcg": lambda: lists.ndcg(10),
        "then recall": lambda: lists.recall(10),
        "then mrr": lists.reciprocal_rank,
        "then map": lists.average_precision,
        "what gate and detector read": lambda: measures.binary(rows, p, None, detailed=False),
        "all without groups": lambda: measures.binary(rows, p, None, detailed=True),
        "lists at 5 and 10": lambda: measures.lists(rows.held, p, groups, (5, 10)),
    }
    seconds = {name: least(of) for name, of in work.items()}
    found = {name: {"seconds": round(s, 4), "times auc": round(s / seconds["auc"], 2)} for name, s in seconds.items()}
    path = Path(__file__).parent / "results" / "metrics_cost.json"
    path.write_text(json.dumps({"rows": ROWS, "groups": GROUPS, **found}, indent=1) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


def least(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


if __name__ == "__main__":
    main()
