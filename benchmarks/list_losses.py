"""Losses over lists beside cross-entropy: the order of the rows of a user's day, and the fit of probabilities.

    make bench-lists           (python -m benchmarks.list_losses --raw ../shared/data/kuairand-pure-slice)

kuairand: the recipe with the loss of is_click and long_view. A user's day has 1.9 rows on average, so most rows have
no other to be ordered with. The mean of 2022-05-02 to 05-05, on which a loss may be chosen, and 2022-05-06, to report.
feed: a simulated log of 12 days with 20 rows per user and day, with the loss of click and like. The last five days.

Every loss is trained with three seeds, as by `tfstable reproducibility`, whose loop is that of `tfstable train`; runs
are kept in --work; rerun to resume. Differences are to cross-entropy with the same seed, order and day; their standard
errors are those of the mean over seeds and days. Writes benchmarks/results/list_losses.json and .md.
Cost: about 25 minutes of one core.
"""

import argparse
import functools
import json
import os
import shutil
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from trainers.studies.reproducibility.bench import Bench

REFERENCE = "cross-entropy"
GROUPS = {"kind": "groups", "by": "user_id"}
TASKS = {"kuairand": ("is_click", "long_view"), "feed": ("click", "like")}
LAST = 5  # Days that are compared.
LOSSES: dict[str, dict[str, Any]] = {
    "cross-entropy, rows in any order": {"trainer.shuffle": {"kind": "full"}},
    REFERENCE: {},
    "pairwise, weight 0.5": {"loss": {"kind": "pairwise", "weight": 0.5}},
    "softmax, weight 0.5": {"loss": {"kind": "softmax", "weight": 0.5}},
    "list_ce, weight 0.5": {"loss": {"kind": "list_ce", "weight": 0.5}},
    "jrc, weight 0.5": {"loss": {"kind": "jrc"}, "model.class": "tfstable.models.JointRanking"},
    "pairwise, weight 1": {"loss": {"kind": "pairwise", "weight": 1.0}},
    "softmax, weight 1": {"loss": {"kind": "softmax", "weight": 1.0}},
}
METRICS = ("gauc", "ndcg5", "auc", "logloss", "calibration")
RESULTS = Path(__file__).parent / "results"
Run = dict[str, dict[str, dict[str, float]]]  # Metrics by day and task.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files of KuaiRand")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-lists"))
    parser.add_argument("--parts", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--losses", nargs="+", default=list(LOSSES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "list_losses.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in arguments.parts:
        log = {"kuairand": kuairand, "feed": feed}[part](arguments)
        found[part] = {name: trained(arguments, part, log, name) for name in arguments.losses}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(line for part in found for line in table(part, found[part])) + "\n"
    (arguments.out / "list_losses.md").write_text(text, encoding="utf-8")
    print(text)


def kuairand(arguments: argparse.Namespace) -> Path:
    from tfstable.sources.kuairand import prepare_with_histories

    log = arguments.work / "log-kuairand"
    prepare_with_histories(arguments.raw, log)
    return log


def feed(arguments: argparse.Namespace) -> Path:
    from tfstable.sources.simulate import simulate

    log = arguments.work / "log-feed"
    if not log.exists():
        partial = log.with_name(f"{log.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        simulate(partial, days=12, rows_per_day=20_000, users=1_000, videos=400)
        partial.rename(log)
    return log


def trained(arguments: argparse.Namespace, part: str, log: Path, name: str) -> list[Run]:
    """Returns the runs of a loss, one per seed."""
    runs = []
    for seed in range(arguments.seeds):
        path = arguments.work / f"{part}, {name}, seed {seed}.json"
        if not path.exists():
            run, seconds = train(part, log, name, seed)
            print(f"{path.stem}: {seconds:.0f} s", flush=True)
            path.with_suffix(".partial").write_text(json.dumps(run), encoding="utf-8")
            path.with_suffix(".partial").rename(path)
        runs.append(json.loads(path.read_text(encoding="utf-8")))
    return runs


def train(part: str, log: Path, name: str, seed: int) -> tuple[Run, float]:
    from tfstable.metrics import ndcg
    from trainers.config import Config, load
    from trainers.studies.reproducibility.config import Plan

    keys = dict(LOSSES[name])
    if loss := keys.pop("loss", None):
        keys |= {f"tasks.{task}.loss": loss for task in TASKS[part]}
    settings = [
        f"{key}={json.dumps(value)}" for key, value in (base(part, log) | keys | {"trainer.seed": seed}).items()
    ]
    config = load(Path("configs") / RECIPES[part], settings, Config)
    record, arrays = bench(part, log).train(Plan(config, seed, 1, LAST, 0))
    run: Run = {}
    for day, tasks in record["days"].items():
        users, labels = rows(log, day, TASKS[part])
        run[day] = {
            task: {k: round(tasks[task][k], 5) for k in METRICS if k in tasks[task]}
            | {"ndcg5": round(ndcg(labels[task], arrays[f"{day}|{task}"], users, k=5), 5)}
            for task in TASKS[part]
        }
    return run, record["seconds"]


RECIPES = {"kuairand": "kuairand.yaml", "feed": "quickstart.yaml"}


def base(part: str, log: Path) -> dict[str, Any]:
    keys: dict[str, Any] = {"data.path": str(log), "trainer.shuffle": GROUPS, "export": {}}
    if part == "feed":
        keys |= {"data.weight": None, "data.simulate": None, "trainer.batch_size": 512}
    return keys


@functools.lru_cache(maxsize=1)
def bench(part: str, log: Path) -> "Bench":
    """Trains the runs that share a log: their rows are read, and their graphs are traced, once."""
    from trainers.config import load
    from trainers.studies.reproducibility.bench import Bench
    from trainers.studies.reproducibility.config import ReproducibilityConfig
    from trainers.training.check import open_log

    settings = [f"{key}={json.dumps(value)}" for key, value in base(part, log).items()]
    config = load(Path("configs") / RECIPES[part], settings, ReproducibilityConfig)
    return Bench(config, open_log(config))


@functools.cache
def rows(log: Path, day: str, tasks: tuple[str, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the users and the labels of a day."""
    from datetime import date

    import pyarrow as pa

    from tfstable.data.log import DayLog, read

    table = pa.Table.from_batches(
        read(DayLog(log).units(date.fromisoformat(day)), {"user_id": None, **dict.fromkeys(tasks, pa.float32())})
    )
    return table["user_id"].to_numpy(), {task: table[task].to_numpy() for task in tasks}


HEADING = ("loss", "GAUC", "", "NDCG@5", "", "AUC", "log loss", "", "predicted / observed")


def table(part: str, found: dict[str, list[Run]]) -> list[str]:
    """Returns the tables in Markdown; a metric's difference to cross-entropy, in thousandths, follows it."""
    days, lines = sorted(found[REFERENCE][0]), []
    spans = {f"{days[0]} to {days[-1]}": days}
    if part == "kuairand":
        spans = {f"{days[0]} to {days[-2]}": days[:-1], days[-1]: days[-1:]}
    for task in TASKS[part]:
        for span, of_span in spans.items():
            lines += [f"{part}, {task}, {span}, {len(found[REFERENCE])} seeds; differences in thousandths", ""]
            lines += [f"| {' | '.join(HEADING)} |", "|---" * len(HEADING) + "|"]
            lines += [f"| {' | '.join([name, *cells(name, found, task, of_span)])} |" for name in found]
            lines.append("")
    return lines


def cells(name: str, found: dict[str, list[Run]], task: str, days: list[str]) -> list[str]:
    shown = []
    for metric in METRICS:
        shown.append(f"{statistics.mean(run[day][task][metric] for run in found[name] for day in days):.4f}")
        if metric in ("gauc", "ndcg5", "logloss"):
            shown.append(difference(found[name], found[REFERENCE], task, metric, days) if name != REFERENCE else "")
    return shown


def difference(runs: list[Run], reference: list[Run], task: str, metric: str, days: list[str]) -> str:
    of_pairs = [
        1000 * (ours[day][task][metric] - theirs[day][task][metric])
        for ours, theirs in zip(runs, reference, strict=True)
        for day in days
    ]
    error = statistics.stdev(of_pairs) / len(of_pairs) ** 0.5 if len(of_pairs) > 1 else float("nan")
    return f"{statistics.mean(of_pairs):+.1f} ± {error:.1f}"


if __name__ == "__main__":
    main()
