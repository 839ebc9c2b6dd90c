"""Calibrated tasks on KuaiRand: predicted over observed on each next day, before the maps and after.

    make bench-calibration      (python -m benchmarks.calibration --raw ../shared/data/kuairand-pure-slice)

Each run of `tfstable train` has `calibrate: true` on every task; training does not see the maps, so one run gives both
figures: of each day, the model trained to the day before predicts it, with its map, which knows the days before, and
without. Days 2022-05-02 to 05-05 may be tuned on; 05-06 is to report. `kuairand` averages its weights, which calibrates
already; `kuairand_columns` does not.

Runs are kept in --work; rerun to resume. Writes benchmarks/results/calibration.json and .md. Cost: about a minute of
two cores a run, four in all.
"""

import argparse
import json
import os
import statistics
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

if TYPE_CHECKING:
    from trainers.training.loop import MovingWindow

RECIPES, DAYS = ("kuairand", "kuairand_columns"), [date(2022, 5, day) for day in range(2, 7)]
TASKS = ("is_click", "long_view", "is_like", "is_profile_enter", "play_time")
RESULTS = Path(__file__).parent / "results"
Figures = dict[str, float]
Found = dict[str, dict[str, dict[str, Figures]]]  # By seed, day and task.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files of KuaiRand")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-calibration"))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "calibration.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for recipe in arguments.recipes:
        found[recipe] = {str(seed): measured(arguments, recipe, seed) for seed in range(arguments.seeds)}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(line for recipe, of_recipe in found.items() for line in tables(recipe, of_recipe)) + "\n"
    (arguments.out / "calibration.md").write_text(text, encoding="utf-8")
    print(text)


def measured(arguments: argparse.Namespace, recipe: str, seed: int) -> dict[str, dict[str, Figures]]:
    """Trains a recipe, or takes the run that is there; returns figures by day and task."""
    kept = arguments.work / f"{recipe}, seed {seed}.json"
    if not kept.exists():
        from tfstable.sources.kuairand import prepare_with_histories
        from trainers import Run
        from trainers.config import load

        log = arguments.work / "log"
        prepare_with_histories(arguments.raw, log)
        keys = {"data.path": log, "trainer.seed": seed, "trainer.keep_checkpoints": 20, "trainer.tensorboard": "false"}
        keys |= {"export.when": "never"} | {f"tasks.{task}.calibrate": "true" for task in TASKS}
        config = load(Path("configs") / f"{recipe}.yaml", [f"{key}={value}" for key, value in keys.items()])
        run = Run.open(config, arguments.work / f"{recipe}-{seed}")
        run.train()
        days = {str(day): of_day(run.parts(), day) for day in DAYS}
        kept.with_suffix(".partial").write_text(json.dumps(days), encoding="utf-8")
        kept.with_suffix(".partial").rename(kept)
        print(f"{kept.stem}: done", flush=True)
    return json.loads(kept.read_text(encoding="utf-8"))


def of_day(parts: "MovingWindow", day: date) -> dict[str, Figures]:
    """Returns a day's figures by task, of the model that was trained to the day before."""
    import pyarrow as pa

    from tfstable.data.log import read
    from tfstable.log_columns import outcome_columns
    from tfstable.metrics import auc
    from trainers.training.task_rows import task_rows

    state, tasks = parts.state, parts.config.tasks
    last = parts.log.days[parts.log.days.index(day) - 1]
    state.restore(next(saved.number for saved in state.checkpoints.all() if (saved.last, saved.step) == (last, 0)))
    after, logits = state.predict_both(day)
    table = pa.Table.from_batches(read(parts.log.units(day), dict.fromkeys(outcome_columns(tasks, None), pa.float32())))
    found = {}
    for name in TASKS:
        y = task_rows(name, tasks[name], table, None, day).labels
        x, known = logits[name].astype(np.float64), ~np.isnan(y)
        binary = tasks[name].kind == "binary"
        before, p, y = (1 / (1 + np.exp(-x)) if binary else np.expm1(x))[known], after[name][known], y[known]
        found[name] = {"before": ratio(before, y), "after": ratio(p, y)}
        if binary:
            found[name] |= {"error": float(np.sqrt((p * (1 - p)).sum()) / y.sum())}
            found[name] |= {"ece_before": ece(y, before), "ece_after": ece(y, p), "ece_noise": noise(p)}
            found[name] |= {"auc": auc(y, before), "auc_change": auc(y, p) - auc(y, before)}
    return found


def ratio(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(predictions.sum(dtype=np.float64) / labels.sum(dtype=np.float64))


def ece(labels: np.ndarray, predictions: np.ndarray) -> float:
    from tfstable.metrics import expected_calibration_error

    return expected_calibration_error(labels, predictions)


def noise(predictions: np.ndarray) -> float:
    """The expected calibration error of predictions that are the true probabilities."""
    rng = np.random.default_rng(0)
    return float(np.mean([ece(rng.random(len(predictions)) < predictions, predictions) for _ in range(20)]))


def tables(recipe: str, found: Found) -> list[str]:
    """Returns tables in Markdown: means over the seeds."""

    def mean(day: date, task: str, figure: str) -> float:
        return statistics.mean(days[str(day)][task][figure] for days in found.values())

    binary = [task for task in TASKS if "auc" in next(iter(found.values()))[str(DAYS[0])][task]]
    head = f"predicted over observed, before -> after (standard error of one day); mean of {len(found)} seeds"
    lines = [f"`{recipe}`: {head}", ""]
    lines += [f"| day | {' | '.join(TASKS)} |", "|---" * (1 + len(TASKS)) + "|"]
    for day in DAYS:
        cells = []
        for task in TASKS:
            error = f" ({mean(day, task, 'error'):.3f})" if task in binary else ""
            cells.append(f"{mean(day, task, 'before'):.3f} -> {mean(day, task, 'after'):.3f}{error}")
        lines.append(f"| {day} | {' | '.join(cells)} |")
    lines += ["", f"`{recipe}`: expected calibration error x 1000, before -> after (of true probabilities)", ""]
    lines += [f"| day | {' | '.join(binary)} |", "|---" * (1 + len(binary)) + "|"]
    for day in DAYS:
        cells = [
            f"{1e3 * mean(day, t, 'ece_before'):.1f} -> {1e3 * mean(day, t, 'ece_after'):.1f} "
            f"({1e3 * mean(day, t, 'ece_noise'):.1f})"
            for t in binary
        ]
        lines.append(f"| {day} | {' | '.join(cells)} |")
    every = [days[str(day)][task] for days in found.values() for day in DAYS for task in binary]
    lines += ["", f"Largest change of an AUC: {max(abs(each['auc_change']) for each in every):.1e}.", ""]
    for task in TASKS:
        of_task = [days[str(day)][task]["after"] for days in found.values() for day in DAYS]
        of_before = [days[str(day)][task]["before"] for days in found.values() for day in DAYS]
        before, after = (f"{min(each):.3f} to {max(each):.3f}" for each in (of_before, of_task))
        lines.append(f"- {task}: {before} before, {after} after")
    return [*lines, ""]


if __name__ == "__main__":
    main()
