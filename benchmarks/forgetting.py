"""Accumulators that forget: a log whose tastes change, a quiet log, and KuaiRand.

    make bench-forgetting      (python -m benchmarks.forgetting --raw ../shared/data/kuairand-pure-slice)

change: a simulated log of 100 days whose tastes change on day 40, the first day being 0. How far is a run since day 0
from one that began on day 39, when both have trained on four days of the new tastes, on day 44? The aim is 0.01 AUC.
quiet: the same feed without a change, 60 days. The aim is no loss over the last 30.
Both with 1,000 users and 400 videos a day, and with few of them: 200 and 100. A day has 20,000 rows.
kuairand, kuairand_columns: the mean of 2022-05-02 to 05-05, on which a value may be chosen, and 2022-05-06, to report.

Runs are trained as by `tfstable reproducibility`, whose loop is that of `tfstable train`, and kept in --work; rerun to
resume. Writes benchmarks/results/forgetting.json and .md; those of few users and videos have not been written yet.
Cost: about an hour and a half of one core.
"""

import argparse
import functools
import json
import os
import shutil
import statistics
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from trainers.config import Config
    from trainers.studies.reproducibility.bench import Bench

FIRST, CHANGE, DAYS, QUIET = date(2025, 1, 1), 40, 100, 60
FEED = {"data.weight": "null", "trainer.window_days": 1, "trainer.batch_size": 512}
TABLES, DENSE = "optimizer.embeddings.forget", "optimizer.dense.forget"
SETTINGS = {
    "1": {},
    "0.9": {TABLES: 0.9, DENSE: 0.9},
    "0.7": {TABLES: 0.7, DENSE: 0.7},
    "0.5": {TABLES: 0.5, DENSE: 0.5},
    "0.3": {TABLES: 0.3, DENSE: 0.3},
    "0.7, tables alone": {TABLES: 0.7},
    "0.7, rates doubled": {
        TABLES: 0.7,
        DENSE: 0.7,
        "optimizer.embeddings.learning_rate": 0.2,
        "optimizer.dense.learning_rate": 0.1,
    },
}
BEGUN, BEST = f"1, begun on day {CHANGE - 1}", "best attainable"
FEEDS = {  # Users and videos of a day; days; the days that are compared.
    "change": (1_000, 400, DAYS, DAYS - CHANGE),
    "change_few": (200, 100, DAYS, DAYS - CHANGE),
    "quiet": (1_000, 400, QUIET, QUIET // 2),
    "quiet_few": (200, 100, QUIET, QUIET // 2),
}
RECIPES = {"kuairand": ("1", "0.9", "0.7"), "kuairand_columns": ("1", "0.9", "0.7", "0.5")}
TASKS = dict.fromkeys(FEEDS, ("click", "like"))
TASKS |= dict.fromkeys(RECIPES, ("is_click", "long_view", "is_like", "is_profile_enter"))
KUAIRAND_DAYS = [f"2022-05-0{day}" for day in range(2, 7)]
RESULTS = Path(__file__).parent / "results"
Run = dict[str, dict[str, float]]  # AUC by day and task.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files of KuaiRand")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-forgetting"))
    parser.add_argument("--parts", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "forgetting.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in arguments.parts:
        runs = of_feed(arguments, part) if part in FEEDS else of_kuairand(arguments, part)
        found[part] = {name: summary(part, own) for name, own in runs.items()}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(table(found)) + "\n"
    (arguments.out / "forgetting.md").write_text(text, encoding="utf-8")
    print(text)


def of_feed(arguments: argparse.Namespace, part: str) -> dict[str, list[Run]]:
    """Returns the runs of each setting, one per seed, on a simulated log."""
    from tfstable.sources.simulate import simulate

    log, (users, videos, days, last) = arguments.work / f"log-{part}", FEEDS[part]
    changes = [CHANGE] if part.startswith("change") else []
    if not log.exists():
        partial = log.with_name(f"{log.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        simulate(partial, days=days, rows_per_day=20_000, users=users, videos=videos, taste_change_days=changes)
        partial.rename(log)
    train = functools.partial(trained, arguments, part, "quickstart", last)
    runs = {name: train(name, FEED | {"data.path": log} | keys) for name, keys in SETTINGS.items()}
    if changes:
        runs[BEGUN] = train(BEGUN, FEED | {"data.path": log, "data.since": FIRST + timedelta(CHANGE - 1)})
    return runs


def of_kuairand(arguments: argparse.Namespace, recipe: str) -> dict[str, list[Run]]:
    """Returns the runs of each setting, one per seed, on KuaiRand."""
    from tfstable.sources.kuairand import prepare_with_histories

    log = arguments.work / "log-kuairand"
    prepare_with_histories(arguments.raw, log)
    keys = {"data.path": log}
    return {
        name: trained(arguments, recipe, recipe, len(KUAIRAND_DAYS), name, keys | SETTINGS[name])
        for name in RECIPES[recipe]
    }


def trained(
    arguments: argparse.Namespace, part: str, recipe: str, last: int, name: str, keys: dict[str, object]
) -> list[Run]:
    """Returns the runs of a setting, one per seed: AUC by day and task, of the newest `last` days."""
    runs = []
    for seed in range(arguments.seeds):
        path = arguments.work / f"{part}, {name}, seed {seed}.json"
        if not path.exists():
            days, seconds = train(recipe, keys | {"trainer.seed": seed}, last)
            print(f"{path.stem}: {seconds:.0f} s", flush=True)
            path.with_suffix(".partial").write_text(json.dumps(days), encoding="utf-8")
            path.with_suffix(".partial").rename(path)
        runs.append(json.loads(path.read_text(encoding="utf-8")))
    return runs


def train(recipe: str, keys: dict[str, object], last: int) -> tuple[Run, float]:
    """Trains a recipe with some keys in this process; returns AUC by day and task, best attainable too, and seconds."""
    from trainers.studies.reproducibility.config import Plan

    config = load(recipe, keys)
    of_data = {key: value for key, value in keys.items() if key != "trainer.seed" and "optimizer" not in key}
    record, _ = bench(recipe, *of_data.items()).train(Plan(config, config.trainer.seed, 1, last, 0))
    days: Run = {}
    for day, tasks in record["days"].items():
        days[day] = {task: metrics["auc"] for task, metrics in tasks.items() if "auc" in metrics}
        days[day] |= {f"best {task}": metrics["best_auc"] for task, metrics in tasks.items() if "best_auc" in metrics}
    return days, record["seconds"]


def load(recipe: str, keys: dict[str, object]) -> "Config":
    from trainers.config import load

    return load(Path("configs") / f"{recipe}.yaml", [f"{key}={value}" for key, value in keys.items()])


@functools.lru_cache(maxsize=1)
def bench(recipe: str, *keys: tuple[str, object]) -> "Bench":
    """Trains the runs that share a log: their rows are read, and their graphs are traced, once."""
    from trainers.studies.reproducibility.bench import Bench
    from trainers.training.check import open_log

    config = load(recipe, dict(keys))
    return Bench(config, open_log(config))


def day(number: int) -> str:
    """The date of a day of the simulated feed."""
    return str(FIRST + timedelta(number))


_CHANGED = {f"day {n}": [day(n)] for n in range(CHANGE, CHANGE + 6)}
_CHANGED["days 60 to 99"] = [day(n) for n in range(60, DAYS)]
_CALM = {f"days {QUIET // 2} to {QUIET - 1}": [day(n) for n in range(QUIET // 2, QUIET)]}
_KUAIRAND = {"2022-05-02 to 05-05": KUAIRAND_DAYS[:-1], "2022-05-06": KUAIRAND_DAYS[-1:]}
#: By part, the columns of its table: the days over which AUC is averaged.
COLUMNS = {part: _CHANGED if part.startswith("change") else _CALM for part in FEEDS}
COLUMNS |= dict.fromkeys(RECIPES, _KUAIRAND)


def summary(part: str, runs: list[Run]) -> dict[str, dict[str, list[float]]]:
    """Returns AUC by task and column of the table, one per seed."""
    return {
        task: {
            name: [round(statistics.mean(run[day][task] for day in days), 5) for run in runs]
            for name, days in COLUMNS[part].items()
            if days[0] in runs[0]
        }
        for task in (*TASKS[part], *(f"best {task}" for task in TASKS[part]))
        if task in next(iter(runs[0].values()))
    }


def table(found: dict[str, dict]) -> list[str]:
    """Returns the tables in Markdown: means over the seeds, and their standard deviation in brackets."""
    lines = []
    for part, settings in ((part, found[part]) for part in TASKS if part in found):
        lines += [f"{part}: AUC, mean over {seeds_of(settings)} seeds, and their standard deviation", ""]
        for task in TASKS[part]:
            columns = COLUMNS[part]
            lines += [f"| {task}, forget | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
            for name, tasks in settings.items():
                lines.append(f"| {name} | {' | '.join(cell(tasks[task].get(column)) for column in columns)} |")
            if best := settings["1"].get(f"best {task}"):
                lines.append(f"| {BEST} | {' | '.join(f'{best[column][0]:.4f}' for column in columns)} |")
            lines.append("")
    return lines[:-1]


def seeds_of(settings: dict[str, dict]) -> int:
    return len(next(iter(next(iter(settings["1"].values())).values())))


def cell(aucs: list[float] | None) -> str:
    if aucs is None:
        return ""
    return f"{statistics.mean(aucs):.4f}" + (f" ({statistics.stdev(aucs):.4f})" if len(aucs) > 1 else "")


if __name__ == "__main__":
    main()
