"""Initial kernels: the depth at which a plain network still trains, and the jump of the loss in the first steps.

    make bench-initialisation      (python -m benchmarks.initialisation --raw ../shared/data/kuairand-pure-slice)

depth: networks of width 64 without residuals or normalisation on scikit-learn's handwritten digits, Adagrad at each of
RATES, `EPOCHS` epochs. A network trains at a depth if its training cross-entropy falls to TARGET in every seed at some
rate, each rate being left at the first seed that fails. ReZero stands beside. A kind that fails is not tried deeper.
jump: the large model of configs/stability.yaml (4 x 512) on the first 50 steps of the KuaiRand slice, Adagrad at high
rates, untreated and under Clippy. The jump is the largest loss over the first one.

Runs are kept in --work; rerun to resume. Writes benchmarks/results/initialisation.json and .md. Cost: about 15 minutes
of one core.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfstable.models.blocks import activation, activation_gain_of, kernel_initializer
from tfstable.optimizers import Adagrad
from tfstable.options import RankingOptions

RESULTS = Path(__file__).parent / "results"
WIDTH, BATCH, EPOCHS, TARGET = 64, 128, 20, 1.0
DEPTHS, RATES, SEEDS = (8, 16, 24, 32, 48, 64, 128), (0.01, 0.003, 0.03), 3
ACTIVATIONS = {
    "relu": {"activation": "relu"},
    "smelu": {"activation": "smelu"},
    "swish": {"activation": "swish"},
    "tanh": {"activation": "tanh"},
}
KINDS = ("glorot", "he", "fan_in", "orthogonal", "he, ReZero")
JUMP_RATES, JUMP_SEEDS, JUMP_STEPS = (0.1, 0.4), 3, 50
JUMP_ACTIVATIONS = ("relu", "smelu")
JUMP_KINDS = ("glorot", "he", "fan_in", "orthogonal")
TREATMENTS = {"none": None, "clippy": {"kind": "clippy", "absolute": 1e-3}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files of KuaiRand")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-initialisation"))
    parser.add_argument("--parts", nargs="+", choices=("depth", "jump"), default=["depth", "jump"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "initialisation.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in arguments.parts:
        found[part] = {"depth": depths, "jump": jumps}[part](arguments)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join([*depth_table(found.get("depth", {})), "", *jump_table(found.get("jump", []))]) + "\n"
    (arguments.out / "initialisation.md").write_text(text, encoding="utf-8")
    print(text)


def kept(arguments, name, run):
    """Returns what `run` does, from a file if it was done before."""
    path = arguments.work / f"{name}.json"
    if not path.exists():
        path.with_suffix(".partial").write_text(json.dumps(run()), encoding="utf-8")
        path.with_suffix(".partial").rename(path)
    return json.loads(path.read_text(encoding="utf-8"))


# --- Depth.


def depths(arguments):
    """Returns, of each activation and kind, by depth: the cross-entropies by rate and seed, and whether it trains."""
    result = {}
    for name, keys in ACTIVATIONS.items():
        for kind in KINDS:
            if kind == "fan_in" and name == "relu":
                continue  # The same as he.
            found = {}
            for depth in DEPTHS:
                run = kept(arguments, f"depth, {name}, {kind}, {depth}", lambda d=depth, k=kind, a=keys: train(a, k, d))
                found[depth] = run
                print(name, kind, depth, run, flush=True)
                if not trains(run):
                    break
            result[f"{name}; {kind}"] = found
    return result


def trains(run):
    return any(len(losses) == SEEDS and max(losses) <= TARGET for losses in run.values())


def train(keys, kind, depth):
    """Returns the lowest training cross-entropy of an epoch, of each seed that was tried, by rate."""
    from sklearn.datasets import load_digits

    initial, gated = kind.removesuffix(", ReZero"), kind.endswith("ReZero")
    options = RankingOptions(kernel_initializer=initial, **keys)
    f, gain = keras.activations.get(activation(options, "float32")), activation_gain_of(options)
    x, y = load_digits(return_X_y=True)
    x = tf.constant((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3), tf.float32)  # (rows, 64): as wide as the layers.
    y = tf.constant(y, tf.int32)
    kernels = tf.Variable(tf.zeros([depth, WIDTH, WIDTH]), name="kernels")
    biases, gates = tf.Variable(tf.zeros([depth, WIDTH]), name="biases"), tf.Variable(tf.zeros([depth]), name="gates")
    head = tf.Variable(tf.zeros([WIDTH, 10]), name="head")
    weights = [kernels, biases, head] + ([gates] if gated else [])
    optimizer = Adagrad(RATES[0])
    optimizer.build(weights)
    apply = tf.autograph.experimental.do_not_convert(optimizer.apply)
    start = [tf.identity(v) for v in optimizer.variables]

    def logits(x):
        for i, (W, b) in enumerate(zip(tf.unstack(kernels), tf.unstack(biases), strict=True)):
            F = f(tf.matmul(x, W) + b)
            x = x + gates[i] * F if gated else F
        return tf.matmul(x, head)

    @tf.function
    def epoch(order):
        total = tf.constant(0.0)
        for begin in tf.range(0, tf.size(order), BATCH):
            rows = order[begin : begin + BATCH]
            with tf.GradientTape() as tape:
                each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(y, rows), logits(tf.gather(x, rows)))
                loss = tf.reduce_mean(each)
            apply(tape.gradient(loss, weights), weights)
            total += tf.reduce_sum(each)
        return total / tf.cast(tf.size(order), tf.float32)

    result = {}
    for rate in RATES:
        result[str(rate)] = []
        for seed in range(SEEDS):
            keras.utils.set_random_seed(seed)
            for variable, value in zip(optimizer.variables, start, strict=True):
                variable.assign(value)
            optimizer.learning_rate = rate
            draws = [kernel_initializer(options, 1.0 if i == 0 else gain) for i in range(depth)]
            kernels.assign([keras.initializers.get(draw)((WIDTH, WIDTH)) for draw in draws])
            head.assign(keras.initializers.GlorotUniform()((WIDTH, 10)))
            biases.assign(tf.zeros_like(biases))
            gates.assign(tf.zeros_like(gates))
            rng, best = np.random.default_rng(seed), 99.0
            for _ in range(EPOCHS):
                now = float(epoch(tf.constant(rng.permutation(len(y)), tf.int32)))
                if not np.isfinite(now):
                    break
                best = min(best, now)
                if best <= TARGET:
                    break
            result[str(rate)].append(round(best, 4))
            if best > TARGET:
                break
        if trains(result):
            break
    return result


def depth_table(found):
    """Returns the deepest network of each kind that trains, in Markdown."""
    rows = [
        f"Deepest of {', '.join(map(str, DEPTHS))} layers that trains (cross-entropy {TARGET} in {EPOCHS} epochs):",
        "",
    ]
    rows += [f"| activation | {' | '.join(KINDS)} |", "|---" * (1 + len(KINDS)) + "|"]
    for name in ACTIVATIONS:
        cells = []
        for kind in KINDS:
            kind = "he" if (name, kind) == ("relu", "fan_in") else kind
            deep = [int(depth) for depth, run in found.get(f"{name}; {kind}", {}).items() if trains(run)]
            cells.append(str(max(deep)) if deep else f"below {DEPTHS[0]}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


# --- Jump.


def jumps(arguments):
    """Returns a record of each run: loss at first, largest and last, over the first 50 steps."""
    from tfstable.sources.kuairand import prepare
    from trainers.config import load
    from trainers.studies.stability.config import StabilityConfig

    log = arguments.work / "log-kuairand"
    names = [
        (a, k, t, r)
        for a in JUMP_ACTIVATIONS
        for k in JUMP_KINDS
        if (a, k) != ("relu", "fan_in")
        for t in TREATMENTS
        for r in JUMP_RATES
    ]
    files = {point: "jump, {}, {}, {}, {}".format(*point) for point in names}
    bench = None
    if not all((arguments.work / f"{file}.json").exists() for file in files.values()):
        prepare(arguments.raw, log)
        config = load("configs/stability.yaml", [f"data.path={log}"], StabilityConfig)
        bench = first_steps_of(config)
    records = []
    for point, file in files.items():
        losses = kept(arguments, file, lambda point=point: [bench(*point, seed) for seed in range(JUMP_SEEDS)])[
            :JUMP_SEEDS
        ]
        print(file, [jump(run) for run in losses], flush=True)
        records.append(dict(zip(("activation", "kind", "treatment", "rate"), point, strict=True)) | {"losses": losses})
    return records


def first_steps_of(config):
    """Returns a function from a point and a seed to the losses of the first steps; seeds and rates share a graph."""
    from tfstable.data.log import DayLog
    from trainers.build.learner import make_learner
    from trainers.studies.stability.config import Treatment
    from trainers.studies.workbench import Workbench
    from trainers.training.loop import train_window

    log = DayLog(config.data.path)
    bench = Workbench(config, log, kept=1)
    first = bench.plans(config.trainer, log.days[1])[:1]

    def losses(activation, kind, treatment, rate, seed):
        model = {"activation": activation, "kernel_initializer": kind}
        treated = Treatment.model_validate({"dense": TREATMENTS[treatment], "model": model})
        own = config.run_config("large", treated, rate, seed)
        learner = bench.learner(own, (activation, kind, treatment), lambda: make_learner(own, bench.statistics))
        for group in learner.optimizer.optimizers:
            group.learning_rate = rate
        iterator = bench.feed(first, own.trainer, own.trainer.seed)
        numbers = np.arange(min(JUMP_STEPS, first[0].total))
        calls = train_window(learner, iterator, numbers, first[0].total, lambda done: own.trainer.steps_per_call)
        return [round(float(loss), 5) for call in calls for loss in call.losses[:, 0]]

    return losses


def jump(losses):
    """The largest loss over the first one; infinite after a loss that is not finite."""
    return max(losses) / losses[0] if np.isfinite(losses).all() else float("inf")


def jump_table(records):
    """Returns the jumps in Markdown: the median over the seeds, least and largest, and how many end below the start."""
    rates = sorted({record["rate"] for record in records})
    rows = [
        "Largest loss of the first steps over the first loss: median of the seeds (least, largest); seeds whose last",
        "",
    ]
    rows[0] += f" loss is below the first, of {JUMP_SEEDS}:"
    rows += [f"| activation | treatment | kernels | {' | '.join(f'rate {rate}' for rate in rates)} |"]
    rows += ["|---" * (3 + len(rates)) + "|"]
    of_point = {tuple(record[key] for key in ("activation", "treatment", "kind", "rate")): record for record in records}
    for first in dict.fromkeys(key[:3] for key in of_point):
        cells = [cell(of_point[*first, rate]["losses"]) for rate in rates]
        rows.append(f"| {' | '.join(first)} | {' | '.join(cells)} |")
    return rows


def cell(runs):
    found = [jump(run) for run in runs]
    calm = sum(bool(np.isfinite(run).all() and run[-1] < run[0]) for run in runs)
    return f"{statistics.median(found):.3g} ({min(found):.3g}, {max(found):.3g}); {calm}"


if __name__ == "__main__":
    main()
