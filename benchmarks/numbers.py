"""Numbers as inputs: seeded logs with known effects, compared with gradient-boosted trees on the same columns.

    make bench-numbers         (python -m benchmarks.numbers)

Each log has six days of 100,000 rows for training and a seventh of 200,000 for the test. Its label depends on its
columns in one way, named in the row of the table. Each is trained with the columns as `numeric` features, as `quantile`
features, and as both, with defaults except for `SETTINGS`. "best" is the AUC of the true probabilities. Writes
benchmarks/results/numbers.json and .md; runs are kept in --work, and a re-run resumes.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.metrics import auc, auc_standard_error

RESULTS = Path(__file__).parent / "results"
TRAIN_DAYS, TRAIN_ROWS, TEST_ROWS = 6, 100_000, 200_000
FIRST_DAY = date(2025, 1, 1)
SETTINGS = ("trainer.window_days=1", "trainer.batch_size=512", "trainer.tensorboard=false", "export.when=never")
KINDS = {"numeric": ("numeric",), "quantile": ("quantile",), "both": ("numeric", "quantile")}

Columns = dict[str, np.ndarray]
Make = Callable[[np.random.Generator, int], tuple[Columns, np.ndarray]]  # (generator, rows) -> columns, logits


def normal(effect: Callable[[np.ndarray], np.ndarray], columns: int = 1) -> Make:
    """Standard normal columns, whose effects add up."""

    def make(rng, rows):
        x = rng.standard_normal((columns, rows))
        return {f"x{i}": column for i, column in enumerate(x)}, np.sum([effect(column) for column in x], axis=0) - 1

    return make


def counts(zeros: float) -> Make:
    """A count that is mostly 0 and heavy-tailed where it is not."""

    def make(rng, rows):
        x = np.where(rng.random(rows) < zeros, 0.0, np.ceil(rng.lognormal(3, 1.5, rows)))
        return {"x0": x}, -2 + np.where(x > 0, 0.5 * np.log1p(x) - 0.5, 0.0)

    return make


def product(rng, rows):
    x = rng.standard_normal((2, rows))
    return {"x0": x[0], "x1": x[1]}, 1.5 * x[0] * x[1] - 1


def years(rng, rows):
    x = np.round(rng.normal(1985, 10, rows))
    known = rng.random(rows) >= 0.05
    return {"x0": np.where(known, x, np.nan)}, np.where(known, (x - 1985) / 5, 0.0) - 1


def shares(rng, rows):
    x = 5e-7 * rng.random(rows)
    return {"x0": x}, 8e6 * x - 3


def census(rng, rows):
    """Four zero-inflated amounts, as of gains and losses, and an age."""
    amounts = [
        np.where(rng.random(rows) < zeros, 0.0, np.round(rng.lognormal(8, 1, rows)))
        for zeros in (0.98, 0.94, 0.97, 0.89)
    ]
    age = rng.integers(17, 90, rows).astype(np.float64)
    effects = [np.where(x > 0, 1.5 * np.tanh(np.log(np.maximum(x, 1)) - 8), 0.0) for x in amounts]
    columns = {f"x{i}": x for i, x in enumerate([*amounts, age])}
    return columns, np.sum(effects, axis=0) - ((age - 48) / 18) ** 2


LOGS: dict[str, Make] = {
    "monotone": normal(lambda x: 1.5 * x),
    "step": normal(lambda x: 2.5 * (x > 0.7)),
    "U-shaped": normal(lambda x: 1.2 * np.square(x) - 1),
    "98% zeros": counts(0.98),
    "94% zeros": counts(0.94),
    "89% zeros": counts(0.89),
    "years, 5% null": years,
    "shares of 5e-7": shares,
    "2 numbers": normal(lambda x: x, 2),
    "5 numbers": normal(lambda x: 0.7 * x, 5),
    "5 numbers, U-shaped": normal(lambda x: 0.7 * np.square(x) - 0.7, 5),
    "census": census,
    "pairwise": product,
}
OF_ONE_COLUMN = list(LOGS)[:8]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-numbers"))
    parser.add_argument("--logs", nargs="*", default=list(LOGS))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = {}
    for seed, (name, make) in enumerate(LOGS.items()):
        if name in arguments.logs:
            rows[name] = measure(
                arguments.work / name.replace(" ", "_").replace("%", ""), make, seed, arguments.overrides
            )
            print(name, {key: round(value, 4) for key, value in rows[name].items()}, flush=True)
    lines = [
        "AUC on 200,000 rows of the day after the training. The standard error is that of the trees; all are tested "
        "on the same rows, so differences are surer. Bold: more than 0.003 below the trees, where the effect is of one "
        "column.",
        "",
        f"| effect | best | trees | {' | '.join(KINDS)} | standard error |",
        "|---" * (4 + len(KINDS)) + "|",
    ]
    for name, values in rows.items():
        short = {k: name in OF_ONE_COLUMN and values[k] < values["trees"] - 0.003 for k in KINDS}
        shown = [f"**{values[k]:.4f}**" if short[k] else f"{values[k]:.4f}" for k in KINDS]
        figures = [f"{values['best']:.4f}", f"{values['trees']:.4f}", *shown, f"{values['se']:.4f}"]
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "numbers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (arguments.out / "numbers.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(work: Path, make: Make, seed: int, overrides: list[str]) -> dict[str, float]:
    """Returns the AUC on the last day of the truth, of trees and of each kind of feature, and the trees' error."""
    rng = np.random.default_rng(seed)
    days = []
    for number in range(TRAIN_DAYS + 1):
        columns, logits = make(rng, TRAIN_ROWS if number < TRAIN_DAYS else TEST_ROWS)
        truth = 1 / (1 + np.exp(-logits))
        days.append((columns, truth, (rng.random(len(truth)) < truth).astype(np.int8)))
        path = work / "log" / f"date={FIRST_DAY + timedelta(number)}" / "part-0.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            table = {name: pa.array(x, from_pandas=True) for name, x in columns.items()}
            pq.write_table(pa.table({**table, "label": days[-1][2]}), path)
    last_columns, truth, labels = days[-1]
    x = np.column_stack([np.concatenate([columns[name] for columns, _, _ in days[:-1]]) for name in last_columns])
    trees = lightgbm.LGBMClassifier(
        n_estimators=300, learning_rate=0.05, num_leaves=63, min_child_samples=50, n_jobs=2, verbose=-1
    )
    trees.fit(x, np.concatenate([own for _, _, own in days[:-1]]))
    scores = trees.predict_proba(np.column_stack(list(last_columns.values())))[:, 1]
    found = {"best": auc(labels, truth), "trees": auc(labels, scores), "se": auc_standard_error(labels, scores)}
    for kind in KINDS:
        found[kind] = trained(work, kind, list(last_columns), overrides)
    return {name: float(value) for name, value in found.items()}


def trained(work: Path, kind: str, columns: list[str], overrides: list[str]) -> float:
    """Returns the AUC on the last day of a training with the columns as features of `kind`."""
    features = {f"{c}_{k}": {"kind": k, "column": c} for c in columns for k in KINDS[kind]}
    config = {"data": {"path": str(work / "log")}, "features": features, "tasks": {"label": {"kind": "binary"}}}
    (work / f"{kind}.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML.
    options = [part for setting in (*SETTINGS, *overrides) for part in ("--set", setting)]
    arguments = ["train", "--config", work / f"{kind}.yaml", "--model-dir", work / kind, *options]
    subprocess.run([sys.executable, "-m", "trainers", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    metrics = json.loads((work / kind / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["eval_day"] == str(FIRST_DAY + timedelta(TRAIN_DAYS))
    return metrics["tasks"]["label"]["auc"]


if __name__ == "__main__":
    main()
