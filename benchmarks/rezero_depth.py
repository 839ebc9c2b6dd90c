"""The epochs that a 32-layer network needs with and without ReZero.

    pip install -e '.[peers]'
    python -m benchmarks.rezero_depth    # about 25 minutes on 2 cores; writes benchmarks/results/layers/rezero_depth.*

The paper's experiment (32 ReLU layers of width 256, Adagrad at 0.01, time to a training cross-entropy) on the 1797
handwritten digits of scikit-learn. Every network has the same first layer and the same output layer. The 32 layers
between them are x <- F(x), x + F(x), f(LN(x W + b)) or x + alpha F(x), with F(x) = f(x W + b). The plain network runs
with He's initialisation, the best known for it, and with Keras's default (Glorot's), a common one. A run ends at the
lowest target or after EPOCHS. Finished runs are kept in the JSON; rerun to resume.
"""

import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfstable.layers import ReZero
from tfstable.optimizers import Adagrad

RESULTS = Path(__file__).parent / "results" / "layers"
DEPTH, WIDTH, BATCH, EPOCHS, TARGETS = 32, 256, 128, 80, (1.0, 0.5, 0.1)
KINDS = {
    "plain, Glorot": ("glorot_uniform", lambda F: F),
    "plain": ("he_normal", lambda F: F),
    "residual": ("he_normal", lambda F: Residual(F)),
    "layer-normalised": ("he_normal", lambda F: normalised(F)),
    "ReZero": ("he_normal", lambda F: ReZero(F)),
}


class Residual(keras.layers.Layer):
    """x + F(x), the same as ReZero with a gate of one that stays."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, shape):
        self.layer.build(shape)

    def call(self, x):
        return x + self.layer(x)


def normalised(dense):
    dense.activation = keras.activations.linear
    return keras.Sequential([dense, keras.layers.LayerNormalization(), keras.layers.ReLU()])


def network(kind):
    initializer, around = KINDS[kind]
    dense = [keras.layers.Dense(WIDTH, "relu", kernel_initializer=initializer) for _ in range(DEPTH + 1)]
    body = [around(F) for F in dense[1:]]
    return keras.Sequential([keras.Input((64,)), dense[0], *body, keras.layers.Dense(10)])


def data():
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)
    return tf.constant(x, tf.float32), tf.constant(y, tf.int32)


def train(kind, seed):
    """Returns the mean training cross-entropy of each epoch, measured while training, and the seconds of an epoch."""
    keras.utils.set_random_seed(seed)
    model, optimizer = network(kind), Adagrad(0.01)
    optimizer.build(model.trainable_variables)
    x, y = data()

    @tf.function(reduce_retracing=True)
    def epoch(order):
        total = tf.constant(0.0)
        for start in tf.range(0, tf.size(order), BATCH):
            rows = order[start : start + BATCH]
            with tf.GradientTape() as tape:
                each = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(y, rows), model(tf.gather(x, rows)))
                loss = tf.reduce_mean(each)
            gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            total += tf.reduce_sum(each)
        return total / tf.cast(tf.size(order), tf.float32)

    rng, losses = np.random.default_rng(seed), []
    epoch = epoch.get_concrete_function(tf.TensorSpec((len(y),), tf.int32))
    start = time.perf_counter()
    while len(losses) < EPOCHS and (not losses or losses[-1] > TARGETS[-1]) and np.isfinite(losses[-1:]).all():
        losses.append(float(epoch(tf.constant(rng.permutation(len(y)), tf.int32))))
    return {
        "kind": kind,
        "seed": seed,
        "seconds_an_epoch": round((time.perf_counter() - start) / len(losses), 3),
        "losses": [round(loss, 5) for loss in losses],
    }


def epochs_to(target, run):
    """Epochs until the training cross-entropy is at the target; None where the run ended before."""
    return next((i + 1 for i, loss in enumerate(run["losses"]) if loss <= target), None)


def summary(runs):
    """For each target, of each kind: epochs by seed, median epochs and seconds, and epochs over ReZero's."""
    result = {}
    for target in TARGETS:
        medians, result[str(target)] = {}, {}
        for kind in KINDS:
            mine = [run for run in runs if run["kind"] == kind]
            epochs = [epochs_to(target, run) for run in mine]
            # A run that ends before the target counts as longer than the limit.
            medians[kind] = statistics.median(EPOCHS + 1 if n is None else n for n in epochs) if mine else None
            missed = medians[kind] is None or medians[kind] > EPOCHS
            seconds = [n * run["seconds_an_epoch"] for n, run in zip(epochs, mine, strict=True) if n]
            result[str(target)][kind] = {
                "epochs": epochs,
                "median_epochs": None if missed else medians[kind],
                "median_seconds": None if missed else round(statistics.median(seconds), 1),
            }
        for kind, median in medians.items():
            if median and medians["ReZero"]:
                ratio = round(min(median, EPOCHS) / medians["ReZero"], 1)
                result[str(target)][kind]["over_rezero"] = f"> {ratio}" if median > EPOCHS else ratio
    return result


def above(run):
    return " (above the picture)" if min(run["losses"]) > 20 else ""


def draw(runs, path):
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for colour, kind in zip(["#999999", "#444444", "#d08020", "#2060c0", "#c02040"], KINDS, strict=True):
        for i, run in enumerate(r for r in runs if r["kind"] == kind):
            axes.plot(
                range(1, len(run["losses"]) + 1),
                run["losses"],
                color=colour,
                label=None if i else f"{kind}{above(run)}",
            )
    for target in TARGETS:
        axes.axhline(target, color="black", linewidth=0.8, linestyle=":")
    # What has left the picture by hundreds is named in it.
    axes.set(xlabel="epoch", ylabel="training cross-entropy", xscale="log", yscale="log", ylim=(0.04, 20))
    axes.set_title(f"{DEPTH} ReLU layers of width {WIDTH}, digits, Adagrad at 0.01, 3 seeds", fontsize=10)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    path = RESULTS / "rezero_depth.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for seed in range(3):
        for kind in KINDS:
            if any((run["kind"], run["seed"]) == (kind, seed) for run in runs):
                continue
            runs.append(train(kind, seed))
            last = runs[-1]
            print(kind, seed, len(last["losses"]), last["seconds_an_epoch"], last["losses"][-1], flush=True)
            setting = f"digits of scikit-learn, {DEPTH} x {WIDTH}, ReLU, Adagrad 0.01, batch {BATCH}"
            RESULTS.mkdir(parents=True, exist_ok=True)
            report = {"setting": setting, "limit_epochs": EPOCHS, "to_cross_entropy": summary(runs), "runs": runs}
            path.write_text(json.dumps(report) + "\n")
    draw(runs, RESULTS / "rezero_depth.png")


if __name__ == "__main__":
    main()
