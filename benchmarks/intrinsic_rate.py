"""The intrinsic learning rate lambda_e = eta lambda on the simulated feed: the claims of Li, Lyu and Arora, 2020.

    make bench-intrinsic      (python -m benchmarks.intrinsic_rate)

The recipe configs/intrinsic_rate.yaml on 12 days of a simulated feed, one window a day, batches of 512, 1,067 steps.
Tables stay on Adagrad, and so do outputs, cross layer and scales of normalisations; (eta, lambda) are those of the
scale-invariant group. A run differs from another in its initial weights (start) or in the order of its rows (order).

(a) lambda_e alone: three pairs of one lambda_e, eta from 1 to 16 times, and pairs of other lambda_e.
(b) functions mix, weights do not: relative prediction difference and cosine of the weights, of pairs of runs with other
    starts, other orders, or both; and the log loss under the average of two runs' weights, beside SWA along one run.
(c) a small rate generalises as well: AUC and log loss of the days after 1 / lambda_e, with the paired difference.

Runs are kept in --work; rerun to resume. Writes benchmarks/results/intrinsic_rate.json, .md and .png. Cost: about 10
minutes of one core.
"""

import argparse
import itertools
import json
import os
import statistics
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.intrinsic_report import draw, table

RESULTS = Path(__file__).parent / "results"
FEED = {"days": 12, "rows_per_day": 50_000, "seed": 0}
KEYS = {"data.weight": "null", "trainer.window_days": 1, "trainer.batch_size": 512, "trainer.track_every": 10}
KEYS |= {"trainer.tensorboard": "false", "export.when": "never"}
LAMBDA_E = 5e-3
PAIRS = {  # (eta, lambda)
    "0.125, 0.04": (0.125, 0.04),
    "0.5, 0.01": (0.5, 0.01),
    "2, 0.0025": (2.0, 0.0025),
    "0.125, 0.01": (0.125, 0.01),
    "2, 0.01": (2.0, 0.01),
    "0.5, 0": (0.5, 0.0),
    "Clippy": None,  # The recipe quickstart: Adagrad and Clippy on all dense weights.
}
EQUAL = [name for name, pair in PAIRS.items() if pair and abs(pair[0] * pair[1] - LAMBDA_E) < 1e-9]
BASE = "0.5, 0.01"
STARTS, ORDERS = 3, 3  # Of BASE all starts with order 0, and all orders of start 0; of the others the starts.
BINARY = ("click", "like", "share", "follow")
FROM = 7  # The first late evaluation day, counted from 0: 780 steps after the start, four times 1 / lambda_e.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-intrinsic"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    bench, runs = Bench(arguments.work), {}
    for name in sorted(PAIRS, key=lambda name: name != BASE):
        orders = [(0, order) for order in range(1, ORDERS)] if name == BASE else []
        for start, order in [*((start, 0) for start in range(STARTS)), *orders]:
            runs[name, start, order] = bench.run(name, start, order)
    found = {
        "curves": {name: curves(runs, name) for name in PAIRS},
        "equal": equal(runs),
        "mixing": mixing(runs),
        "averages": bench.averages(),
    }
    (arguments.out / "intrinsic_rate.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(table(found, PAIRS, BASE)) + "\n"
    (arguments.out / "intrinsic_rate.md").write_text(text, encoding="utf-8")
    draw(found, PAIRS, EQUAL, BASE, arguments.out / "intrinsic_rate.png")
    print(text)


class Bench:
    """Trains runs, each from nothing, and keeps what they leave: a record in JSON, predictions and weights in .npz."""

    def __init__(self, work):
        self.work, self._bench, self._shapes = work, None, {}

    def run(self, name, start, order):
        """Returns a run's record and its predictions by `DAY|TASK`."""
        path = self.work / f"{name}, start {start}, order {order}.npz"
        if not path.exists():
            record, arrays = self._train(name, start, order)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, record=json.dumps(record), **arrays)
            partial.rename(path)
            print(f"{path.stem}: AUC click {record['days'][-1]['click']['auc']:.4f}", flush=True)
        arrays = dict(np.load(path))
        return json.loads(str(arrays.pop("record"))), arrays

    def _workbench(self):
        if self._bench is None:
            from tfstable.data.log import DayLog
            from tfstable.sources.simulate import simulate
            from trainers.studies.workbench import Workbench

            log = self.work / "log"
            if not log.exists():
                partial = log.with_name("log.partial")
                simulate(partial, **FEED)
                partial.rename(log)
            self._bench = Workbench(self._config(BASE), DayLog(log), kept=2)
        return self._bench

    def _config(self, name, seed=0):
        from trainers.config import load

        keys = KEYS | {"data.path": self.work / "log", "trainer.seed": seed}
        pair = PAIRS[name]
        if pair is not None:
            rule = "optimizer.groups.scale_invariant"
            keys |= {f"{rule}.learning_rate": pair[0], f"{rule}.weight_decay": pair[1]}
        recipe = "quickstart" if pair is None else "intrinsic_rate"
        return load(f"configs/{recipe}.yaml", [f"{key}={value}" for key, value in keys.items()])

    def _learner(self, name, start):
        from trainers.build.learner import make_learner

        bench, config = self._workbench(), self._config(name, start)
        return bench.learner(config, name, lambda: make_learner(config, bench.statistics)), config

    def _train(self, name, start, order):
        from trainers.training.evaluation import evaluate
        from trainers.training.loop import train_window

        bench = self._workbench()
        learner, config = self._learner(name, start)
        plans = bench.plans(config.trainer, bench.log.days[-1])
        iterator = bench.feed(plans, config.trainer, order)
        losses, turns, days, arrays = [], [], [], {}
        for number, plan in enumerate(plans):
            for call in train_window(learner, iterator, np.arange(plan.total), plan.total, lambda done: 10):
                losses += call.losses[:, 0].tolist()
                turns.append(learner.steps.diagnostics())
            (day,) = plan.window.next_days
            predictions = bench.predict(learner, day, config, plan.window)
            days.append(evaluate(config, bench.log, day, predictions))
            arrays |= {f"{number}|{task}": predictions[task][::10] for task in BINARY}
            weights = [v.numpy() for v in learner.model.trainable_variables]
            late = len(plans) - (4 if order == 0 and start < 2 else 1)
            if name == BASE and number >= late:  # For averages: along two runs, and of all.
                arrays |= {f"weights|{number}|{i}": weight for i, weight in enumerate(weights)}
            layer = learner.model.bottom.get_layer("dense_1")
            arrays[f"turning|{number}"] = np.concatenate([v.numpy().ravel() for v in (layer.kernel, layer.bias)])
        layers = [path for path in turns[0] if path.endswith(("bottom/dense_0", "bottom/dense_1"))]
        figures = {path: {key: [t[path][key] for t in turns] for key in turns[0][path]} for path in layers}
        return {"losses": losses, "figures": figures, "days": [_kept(day) for day in days]}, arrays

    def averages(self):
        """Returns the last day's log loss and AUC under averages of weights, of the runs of BASE."""
        path = self.work / "averages.json"
        if not path.exists():
            path.write_text(json.dumps(self._averages()), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    def _averages(self):
        from tfstable.optimizers import is_embedding_table

        runs = {(start, order): self.run(BASE, start, order)[1] for start, order in self._base_runs()}
        last = max(int(key.split("|")[1]) for key in runs[0, 0] if key.startswith("weights|"))
        variables = sum(key.startswith(f"weights|{last}|") for key in runs[0, 0])

        def weights(of, number=last):
            return [runs[of][f"weights|{number}|{i}"] for i in range(variables)]

        cases = {f"start {s}, order {o}": [weights((s, o))] for s, o in runs}
        starts, orders = [(s, 0) for s in range(STARTS)], [(0, o) for o in range(ORDERS)]
        cases |= {f"two starts: {a[0]}, {b[0]}": [weights(a), weights(b)] for a, b in itertools.combinations(starts, 2)}
        cases |= {f"two orders: {a[1]}, {b[1]}": [weights(a), weights(b)] for a, b in itertools.combinations(orders, 2)}
        is_table = [is_embedding_table(v) for v in self._learner(BASE, 0)[0].model.trainable_variables]
        for start, count in itertools.product((0, 1), (2, 4)):
            along = [weights((start, 0), last - back) for back in range(count)]  # The newest first.
            kept = [[new if t else old for t, new, old in zip(is_table, along[0], w, strict=True)] for w in along]
            cases[f"SWA over {count} days: start {start}"] = along
            cases[f"SWA over {count} days, dense weights alone: start {start}"] = kept
        return {name: self._under(parts) for name, parts in cases.items()}

    def _base_runs(self):
        return [*((start, 0) for start in range(STARTS)), *((0, order) for order in range(1, ORDERS))]

    def _under(self, parts):
        from trainers.training.evaluation import evaluate

        bench = self._workbench()
        learner, config = self._learner(BASE, 0)
        for variable, values in zip(learner.model.trainable_variables, zip(*parts, strict=True), strict=True):
            variable.assign(np.mean(values, axis=0))
        plan = bench.plans(config.trainer, bench.log.days[-1])[-1]
        (day,) = plan.window.next_days
        return _kept(evaluate(config, bench.log, day, bench.predict(learner, day, config, plan.window)))


def _kept(tasks):
    return {task: {key: round(float(tasks[task][key]), 6) for key in ("auc", "logloss")} for task in BINARY}


def curves(runs, name):
    """Returns by task and metric the mean over the starts of each evaluation day, and over the late days by start."""
    records = [runs[name, start, 0][0] for start in range(STARTS)]
    result = {}
    for task, metric in itertools.product(BINARY, ("auc", "logloss")):
        days = np.array([[day[task][metric] for day in record["days"]] for record in records])  # (starts, days)
        result[f"{task} {metric}"] = {
            "days": days.mean(axis=0).round(5).tolist(),
            "late": days[:, FROM:].mean(axis=1).round(5).tolist(),
        }
    losses = np.array([record["losses"] for record in records])
    windows = losses[:, : losses.shape[1] // 97 * 97].reshape(len(records), -1, 97)  # About a day each.
    result["loss"] = {"days": windows.mean(axis=(0, 2)).round(5).tolist()}
    if PAIRS[name] is not None:
        layer = records[0]["figures"][next(path for path in records[0]["figures"] if path.endswith("dense_1"))]
        result["figures"] = {key: [round(v, 5) for v in layer[key]] for key in ("weight_norm", "angular_step")}
        result["figures"]["equilibrium"] = layer.get("equilibrium_angular_step", [None])[0]
    return result


def equal(runs):
    """Returns the paired difference of each pair to BASE in late log loss and AUC: mean and 95% interval by starts."""
    result = {}
    for name in PAIRS:
        for task, metric in itertools.product(BINARY, ("auc", "logloss")):
            own, base = (curves(runs, which)[f"{task} {metric}"]["late"] for which in (name, BASE))
            each = [a - b for a, b in zip(own, base, strict=True)]
            half = 4.303 * statistics.stdev(each) / len(each) ** 0.5  # Student's t of 2 degrees of freedom.
            result.setdefault(name, {})[f"{task} {metric}"] = [round(statistics.mean(each), 5), round(half, 5)]
    return result


def mixing(runs):
    """Returns by day the prediction difference on click and the cosine of bottom/dense_1's weights, by kind of pair."""
    starts, orders = [(BASE, start, 0) for start in range(STARTS)], [(BASE, 0, order) for order in range(ORDERS)]
    kinds = {
        "starts": itertools.combinations(starts, 2),
        "orders": itertools.combinations(orders, 2),
        "both": itertools.product(starts[1:], orders[1:]),
        "starts, 0.125, 0.01": itertools.combinations([("0.125, 0.01", start, 0) for start in range(STARTS)], 2),
        "starts, Clippy": itertools.combinations([("Clippy", start, 0) for start in range(STARTS)], 2),
        "(eta, lambda) of one lambda_e": itertools.combinations([(name, 0, 0) for name in EQUAL], 2),
    }
    result = {}
    for kind, pairs in kinds.items():
        arrays = [(runs[one][1], runs[other][1]) for one, other in pairs]
        days = sum(key.startswith("turning|") for key in arrays[0][0])
        result[kind] = {"prediction difference": [], "cosine": []}
        for number in range(days):
            click, weights = f"{number}|click", f"turning|{number}"
            difference = [round(float(_difference(a[click], b[click])), 5) for a, b in arrays]
            cosine = [round(float(_cosine(a[weights], b[weights])), 4) for a, b in arrays]
            result[kind]["prediction difference"].append(difference)
            result[kind]["cosine"].append(cosine)
    return result


def _difference(p, q):
    """Relative prediction difference: the mean of 2 |p - q| / (p + q)."""
    return np.mean(2 * np.abs(p - q) / (p + q))


def _cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


if __name__ == "__main__":
    main()
