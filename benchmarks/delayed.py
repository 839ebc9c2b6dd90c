"""Labels that come up to a week late: wait for them, ignore the delay, or weigh fresh labels.

    make bench-delayed      (python -m benchmarks.delayed)

A simulated log of 30 days with 20,000 rows, 1,000 users and 400 videos a day. The label is the feed's click; 30% of the
positive labels are known on the row's own day, the others 1 to 6 days later, sooner in half of the categories than in
the other half. Each day is predicted by the model that was trained to the day before, and measured by its complete
labels, over the last 15 days.

Runs are kept in --work; rerun to resume. Writes benchmarks/results/delayed.json and .md. Cost: about ten minutes of two
cores.
"""

import argparse
import json
import os
import shutil
import statistics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DAYS, COMPARED, MATURES, SAME_DAY = 30, 15, 7, 0.3
TRUTH = "truth: true_click"
LATE = f"kind: binary, {TRUTH}, matures_after_days: {MATURES}"
FRESH = "fresh: {delay_column: buy_days, late_share: %s}"
SETTINGS = {
    "complete labels at once": f"{{kind: binary, {TRUTH}}}",
    "wait": f"{{{LATE}}}",
    "ignore the delay": f"{{kind: binary, label: buy_seen, {TRUTH}}}",
    "fresh and complete": f"{{{LATE}, {FRESH % (1 - SAME_DAY)}}}",
    "the same, late_share 0.5": f"{{{LATE}, {FRESH % 0.5}}}",
}
RESULTS = Path(__file__).parent / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-delayed"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    log = arguments.work / "log"
    if not log.exists():
        partial = arguments.work / "log.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_log(partial)
        partial.rename(log)
    found = {name: [run(arguments.work, log, name, seed) for seed in range(arguments.seeds)] for name in SETTINGS}
    (arguments.out / "delayed.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(table(found)) + "\n"
    (arguments.out / "delayed.md").write_text(text, encoding="utf-8")
    print(text)


def write_log(path: Path):
    """Simulates a feed and adds the label `buy`, the days after which it came, and what of it is seen on its day."""
    from tfstable.sources.simulate import simulate

    simulate(path, days=DAYS, rows_per_day=20_000, users=1_000, videos=400)
    for number, file in enumerate(sorted(path.glob("date=*/*.parquet"))):
        rows, rng = pq.read_table(file), np.random.default_rng([1, number])
        buy = rows["click"].to_numpy()
        slow = np.array([hash_of(category) % 2 for category in rows["category"].to_pylist()])
        later = 1 + rng.binomial(MATURES - 2, np.where(slow == 1, 0.7, 0.2))
        days = np.where(rng.random(len(buy)) < SAME_DAY, 0, later)
        rows = rows.append_column("buy", pa.array(buy))
        rows = rows.append_column("buy_days", pa.array(np.where(buy == 1, days, np.nan), from_pandas=True))
        pq.write_table(rows.append_column("buy_seen", pa.array(buy * (days == 0))), file)


def hash_of(category: str | None) -> int:
    return sum((category or "").encode())


def run(work: Path, log: Path, name: str, seed: int) -> dict[str, float]:
    """Returns the means over the compared days of a setting's AUC, log loss and calibration, by the complete labels."""
    from tfstable.data.arrays import numbers
    from tfstable.data.log import DayLog, read
    from tfstable.metrics import auc, calibration, log_loss
    from trainers.config import load
    from trainers.studies.reproducibility.bench import Bench
    from trainers.studies.reproducibility.config import Plan

    path = work / f"{name}, seed {seed}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    keys = {"data.path": log, "data.weight": "null", "trainer.window_days": 1, "trainer.batch_size": 512}
    keys |= {"trainer.seed": seed, "tasks": f"{{buy: {SETTINGS[name]}, like: {{kind: binary, truth: true_like}}}}"}
    keys |= {"export.score_weights": "{}"}
    config = load(Path("configs/quickstart.yaml"), [f"{key}={value}" for key, value in keys.items()])
    days = DayLog(log)
    record, arrays = Bench(config, days).train(Plan(config, seed, 1, COMPARED, 0))
    found: dict[str, list[float]] = {}
    for day in days.days[-COMPARED:]:
        rows = pa.Table.from_batches(read(days.units(day), dict.fromkeys(("buy", "true_click"), pa.float32())))
        labels, predictions = numbers(rows["buy"]), arrays[f"{day}|buy"]
        figures = {"auc": auc, "log loss": log_loss, "calibration": calibration}
        for figure, measure in figures.items():
            found.setdefault(figure, []).append(measure(labels, predictions))
        found.setdefault("best auc", []).append(auc(labels, numbers(rows["true_click"])))
        found.setdefault("auc of like", []).append(record["days"][str(day)]["like"]["auc"])
    means = {figure: round(statistics.mean(values), 5) for figure, values in found.items()}
    print(f"{path.stem}: {record['seconds']:.0f} s, {means}", flush=True)
    path.with_suffix(".partial").write_text(json.dumps(means), encoding="utf-8")
    path.with_suffix(".partial").rename(path)
    return means


def table(found: dict[str, list[dict[str, float]]]) -> list[str]:
    """Returns the table in Markdown: means over the seeds, and their standard deviation in brackets."""
    figures = ("auc", "log loss", "calibration", "auc of like")
    seeds = len(next(iter(found.values())))
    lines = [f"Mean over {COMPARED} days and {seeds} seeds, and the seeds' standard deviation", ""]
    lines += [f"| | {' | '.join(figures)} |", "|---" * (1 + len(figures)) + "|"]
    for name, runs in found.items():
        values = [[run[figure] for run in runs] for figure in figures]
        cells = [f"{statistics.mean(v):.4f}" + (f" ({statistics.stdev(v):.4f})" if len(v) > 1 else "") for v in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    best = next(iter(found.values()))[0]["best auc"]
    return [*lines, "", f"The best attainable AUC of buy is {best:.4f}."]


if __name__ == "__main__":
    main()
