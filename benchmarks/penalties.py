"""Penalties beside none: quality of the next day, agreement of two trainings, cost of a step.

    make bench-penalties       (python -m benchmarks.penalties --raw ../shared/data/kuairand-pure-slice)

kuairand: configs/kuairand_columns.yaml. feed: configs/quickstart.yaml on a simulated log of 9 days of 20,000 rows.
Of the last five days that are predicted, the first four choose the strength of each kind, by the mean AUC of the binary
tasks, and the last is reported: 2022-05-02 to 05-05, and 2022-05-06.
Strengths are chosen with seed 0; the chosen ones and none are trained with three seeds, which draw weights and order.

Figures: AUC and log loss, minus those of none with the same seed, mean over seeds with a 95% interval of Student's t;
the relative prediction difference between trainings of two seeds, minus none's of the same seeds, mean over the pairs
with the jackknife's 95% interval; the time of a step as a multiple of none's, steps of all kinds in turns, medians.

Runs are trained as by `tfstable reproducibility`, whose loop is that of `tfstable train`, and kept in --work; rerun to
resume. Writes benchmarks/results/penalties.json and .md. Cost: about 40 minutes of one core.
"""

import argparse
import functools
import json
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from trainers.config import Config
    from trainers.studies.reproducibility.bench import Bench

NONE, LAST, SEEDS = "none", 5, 3
#: By kind, the strengths that are tried.
KINDS: dict[str, list[dict[str, Any]]] = {
    "noise": [{"stddev": s} for s in (0.1, 0.3)],
    "gradient": [{"weight": w} for w in (0.0001, 0.001)],
    "fgm": [{"epsilon": e} for e in (0.1, 0.3)],
    "vat": [{"epsilon": e} for e in (0.3, 1.0)],
    "weight_gradient": [{"rate": r} for r in (0.01, 0.1)],
}
FLOODING = {"kuairand": (7.0, 7.5), "feed": (1.8, 2.0)}  # Of the loss of a batch, which the tasks' weights multiply.
RECIPES = {"kuairand": "kuairand_columns", "feed": "quickstart"}
KEYS: dict[str, dict[str, Any]] = {
    "kuairand": {},
    "feed": {"data.weight": "null", "trainer.window_days": 1, "trainer.batch_size": 512},
}
TASKS = {"kuairand": ("is_click", "long_view", "is_like", "is_profile_enter"), "feed": ("click", "like")}
ROUNDS, STEPS = 8, 10  # Of the measurement of cost.
RESULTS = Path(__file__).parent / "results"
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5% quantile, by number of seeds.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files of KuaiRand")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-penalties"))
    parser.add_argument("--parts", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--kinds", nargs="+", choices=(*KINDS, "flooding"), default=[*KINDS, "flooding"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "penalties.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in arguments.parts:
        found[part] = measured(part, arguments.kinds, arguments.work, log_of(part, arguments))
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(line for part, kinds in found.items() for line in table(part, kinds)).rstrip() + "\n"
    (arguments.out / "penalties.md").write_text(text, encoding="utf-8")
    print(text)


def log_of(part: str, arguments: argparse.Namespace) -> Path:
    """Makes the log of a part, if it is not there."""
    log = arguments.work / f"log-{part}"
    if part == "kuairand":
        from tfstable.sources.kuairand import prepare

        prepare(arguments.raw, log)
    elif not log.exists():
        from tfstable.sources.simulate import simulate

        partial = log.with_name(f"{log.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        simulate(partial, days=9, rows_per_day=20_000, users=2_000, videos=1_000)
        partial.rename(log)
    return log


def strengths(part: str) -> dict[str, list[dict[str, Any]]]:
    """By kind, the keys of the penalties that are tried."""
    found = {kind: [{"kind": kind} | keys for keys in tried] for kind, tried in KINDS.items()}
    return found | {"flooding": [{"kind": "flooding", "level": level} for level in FLOODING[part]]}


def measured(part: str, kinds: list[str], work: Path, log: Path) -> dict[str, Any]:
    """Returns the figures of each kind, by the strength that was chosen."""
    trained = functools.partial(trained_once, part, work, log)
    chosen, tuned = {NONE: None}, {}
    none = [trained(None, seed) for seed in range(SEEDS)]
    for kind in kinds:
        tried = strengths(part)[kind]
        tuned[kind] = [(mean_auc(part, trained(penalty, 0), tuning=True), penalty) for penalty in tried]
        chosen[kind] = max(tuned[kind], key=lambda each: each[0])[1]
        for seed in range(1, SEEDS):  # At once, while its graph is kept.
            trained(chosen[kind], seed)
    costs = cost(part, work, log, chosen)
    figures: dict[str, Any] = {}
    for kind, penalty in chosen.items():
        runs = none if penalty is None else [trained(penalty, seed) for seed in range(SEEDS)]
        figures[kind] = {"penalty": penalty, "cost": costs[kind], "tasks": compared(part, runs, none)}
        if kind in tuned:
            reference = mean_auc(part, none[0], tuning=True)
            figures[kind]["tuned"] = [
                {"penalty": keys, "mean_auc": round(auc, 5), "minus_none": round(auc - reference, 5)}
                for auc, keys in tuned[kind]
            ]
    return figures


def trained_once(part: str, work: Path, log: Path, penalty: dict[str, Any] | None, seed: int) -> Path:
    """Trains a run if it was not; returns the path of its record."""
    from tfstable.files import keep

    name = NONE if penalty is None else " ".join(map(str, penalty.values()))
    path = work / f"{part} {name} seed {seed}.json"
    if not path.exists():
        from trainers.studies.reproducibility.config import Plan

        config = load(part, log, penalty, seed)
        began = time.process_time()
        record, arrays = bench(part, log).train(Plan(config, seed, 1, LAST, 0))
        keep(path, record, arrays)
        seconds = f"{record['seconds']:.0f} s, {time.process_time() - began:.0f} s of a core"
        print(f"{path.stem}: {seconds}, mean AUC {mean_auc(part, path, tuning=True):.5f}", flush=True)
    return path


def load(part: str, log: Path, penalty: dict[str, Any] | None, seed: int = 0) -> "Config":
    from trainers.config import load

    keys = KEYS[part] | {"data.path": log, "trainer.seed": seed, "model.penalty": json.dumps(penalty)}
    return load(Path("configs") / f"{RECIPES[part]}.yaml", [f"{key}={value}" for key, value in keys.items()])


@functools.lru_cache(maxsize=1)
def bench(part: str, log: Path) -> "Bench":
    """Trains the runs that share a log: their rows are read once."""
    from trainers.studies.reproducibility.bench import Bench
    from trainers.training.check import open_log

    config = load(part, log, None)
    return Bench(config, open_log(config))


def days_of(path: Path) -> dict[str, Any]:
    from tfstable.files import recall

    return recall(path)["days"]


def mean_auc(part: str, path: Path, tuning: bool) -> float:
    """The mean AUC over the binary tasks, of the days that tune or of the last one."""
    days = sorted(days_of(path).items())
    return statistics.mean(
        tasks[name]["auc"] for _, tasks in (days[:-1] if tuning else days[-1:]) for name in TASKS[part]
    )


def compared(part: str, runs: list[Path], none: list[Path]) -> dict[str, Any]:
    """Returns the figures by task of the last day."""
    from tfstable.files import arrays_beside
    from tfstable.metrics import prediction_difference
    from trainers.studies.reproducibility.measure import over_pairs

    day = max(days_of(runs[0]))
    predictions, before_it = ([arrays_beside(path) for path in paths] for paths in (runs, none))
    ours, theirs = ([days_of(path)[day] for path in paths] for paths in (runs, none))
    found: dict[str, Any] = {"day": day}
    for task in TASKS[part]:
        p, q = ([run[f"{day}|{task}"] for run in each] for each in (predictions, before_it))
        apart_of = {
            (i, j): [prediction_difference(r[i], r[j]) for r in (p, q)] for j in range(len(p)) for i in range(j)
        }
        found[task] = {"difference": over_pairs(len(p), lambda i, j, d=apart_of: d[i, j][0])}
        found[task]["difference_minus_none"] = over_pairs(len(p), lambda i, j, d=apart_of: d[i, j][0] - d[i, j][1])
        for metric in ("auc", "logloss"):
            values, before = ([metrics[task][metric] for metrics in each] for each in (ours, theirs))
            apart = [a - b for a, b in zip(values, before, strict=True)]
            half = STUDENT[len(apart)] * statistics.stdev(apart) / len(apart) ** 0.5
            found[task][metric] = {"values": values, "minus_none": [statistics.mean(apart), half]}
    return found


def cost(part: str, work: Path, log: Path, chosen: dict[str, dict[str, Any] | None]) -> dict[str, float]:
    """Returns the time of a step of each kind, as a multiple of none's: medians over rounds of a few steps of each."""
    path = work / f"{part} cost.json"
    if path.exists() and (known := json.loads(path.read_text(encoding="utf-8"))).keys() >= chosen.keys():
        return known
    import tensorflow as tf

    from trainers.build.learner import make_learner

    shared, seconds, made = bench(part, log), {}, {}
    for kind, penalty in chosen.items():
        config = load(part, log, penalty)
        learner = make_learner(config, shared.statistics, track_every=0)
        plans = shared.plans(config.trainer, max(shared.log.days)) * ROUNDS  # More than enough batches.
        made[kind] = learner, shared.feed(plans, config.trainer, 0)
        learner.steps.train(made[kind][1], tf.constant(STEPS))  # Compiles.
        seconds[kind] = []
    for _ in range(ROUNDS):
        for kind, (learner, batches) in made.items():
            began = time.perf_counter()
            learner.steps.train(batches, tf.constant(STEPS)).numpy()
            seconds[kind].append((time.perf_counter() - began) / STEPS)
    ratios = {
        kind: round(statistics.median(a / b for a, b in zip(each, seconds[NONE], strict=True)), 3)
        for kind, each in seconds.items()
    }
    path.write_text(json.dumps(ratios), encoding="utf-8")
    return ratios


def table(part: str, kinds: dict[str, Any]) -> list[str]:
    """Returns the tables of a part in Markdown."""
    day = kinds[NONE]["tasks"]["day"]
    lines = [f"{part}, {day}; minus none in 1e-4, mean over {SEEDS} seeds ± 95%", ""]
    lines += ["| penalty | " + " | ".join(f"{task}: AUC | log loss | difference" for task in TASKS[part]) + " | step |"]
    lines += ["|---" * (2 + 3 * len(TASKS[part])) + "|"]
    for kind, found in kinds.items():
        cells = []
        for task in TASKS[part]:
            own = found["tasks"][task]
            for metric in ("auc", "logloss"):
                mean, half = own[metric]["minus_none"]
                plain = f"{statistics.mean(own[metric]['values']):.4f}"
                cells.append(plain if kind == NONE else f"{mean * 1e4:+.0f} ± {half * 1e4:.0f}")
            level, apart = own["difference"]["mean"], own["difference_minus_none"]
            half = (apart["high"] - apart["low"]) / 2
            cells.append(f"{level:.1%}" if kind == NONE else f"{100 * apart['mean']:+.1f} ± {100 * half:.1f} points")
        lines.append(f"| {named(found['penalty'])} | {' | '.join(cells)} | {found['cost']:.2f} |")
    lines += ["", "Chosen by the mean AUC of the four days before, seed 0, minus none's:", ""]
    for kind, found in kinds.items():
        if "tuned" in found:
            tried = ", ".join(f"{named(t['penalty'])} {t['minus_none'] * 1e4:+.0f}e-4" for t in found["tuned"])
            lines.append(f"- {kind}: {tried}")
    return [*lines, ""]


def named(penalty: dict[str, Any] | None) -> str:
    return NONE if penalty is None else " ".join(str(value) for value in penalty.values())


if __name__ == "__main__":
    main()
