"""The cost of a step under each treatment, measured in turns."""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfstable.files import write_json
from trainers.build.learner import make_learner
from trainers.build.steps import Steps
from trainers.studies.stability.bench import Bench
from trainers.studies.stability.table import Table

CALL, ROUNDS = 8, 7  # Steps of a turn; turns of each treatment.


def add_costs(bench: Bench, table: Table, out: Path) -> None:
    """Writes to the best rows of a table what a step costs; what OUT/runs/costs.json holds is not measured again."""
    path = out / "runs" / "costs.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for model in dict.fromkeys(row.model for row in table.rows):
        best = [row for row in table.rows if row.model == model and row.best]
        thresholds = {row.treatment: row.threshold for row in best}
        key = f"{model}: " + ", ".join(f"{row.treatment} {row.chosen}".strip() for row in best)
        if key not in known:
            known[key] = costs(bench, model, thresholds, table.rate)
            write_json(path, known)
        for row in best:
            row.cost = known[key][row.treatment]


def costs(bench: Bench, model: str, thresholds: dict[str, int], rate: float) -> dict[str, float]:
    """Returns by treatment the median time of a step over that of the plainest one: without keys, else the first.

    The treatments take turns, so that a busy machine slows all of them alike.

    Args:
        bench: The bench of the grid.
        model: The model.
        thresholds: By treatment, the number of its threshold.
        rate: The learning rate.
    """
    treatments, turns = bench.config.stability.treatments, {}
    for name, threshold in thresholds.items():
        config = bench.config.run_config(model, treatments[name][threshold], rate, 0)
        make_steps = partial(Steps, xla=config.trainer.xla)
        learner = make_learner(config, bench.statistics, track_every=0, make_steps=make_steps)
        plan = bench.plans(config.trainer, bench.log.days[-1])[0]
        plan = replace(plan, total=CALL * (1 + ROUNDS))  # As many passes as it needs.
        iterator = bench.feed([plan], config.trainer, config.trainer.seed)
        turns[name] = partial(learner.steps.train, iterator, tf.constant(CALL))
        turns[name]()  # Compiles.
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(ROUNDS):
        for name, turn in turns.items():
            began = time.monotonic()
            turn().numpy()
            seconds[name].append(time.monotonic() - began)
    plain = next((n for n in turns if not treatments[n][thresholds[n]].model_fields_set), next(iter(turns)))
    return {name: float(np.median(of_turn) / np.median(seconds[plain])) for name, of_turn in seconds.items()}
