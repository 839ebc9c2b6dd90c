"""A residual convolutional network with and without ReZero: steps to a training loss, and the error on held-out images.

    make bench-rezero       (python -m benchmarks.rezero_convolution)

The 1797 handwritten digits of scikit-learn, 8 x 8 pixels, a third of them held out. 9 blocks of two convolutions
3 x 3 with 8 channels (ResNet-20 without its strides), average pooling, Adam, batches of 32, 300 steps:

    residual, BN   x <- relu(x + F(x)), F with batch normalisations, as He et al., 2015
    ReZero, BN     x <- relu(x + alpha F(x)) with the same F: the paper's experiment
    residual       x <- relu(x + F(x)) without normalisation
    ReZero         x <- relu(x + alpha F(x)) without normalisation

The rate of each way is the best of RATES by the first seed; figures are from all seeds. The training loss is the mean
of the last 20 batches. Runs are kept in --work; rerun to resume. Writes benchmarks/results/layers/
rezero_convolution.json and .png. Cost: about 10 minutes of one core.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from benchmarks.over_seeds import mean_with_interval, ratio_with_interval
from tfstable.layers import ReZero

RESULTS = Path(__file__).parent / "results" / "layers"
BLOCKS, CHANNELS, BATCH, STEPS, MEAN_OVER, SEEDS = 9, 8, 32, 300, 20, 3
RATES, TARGETS = (0.003, 0.01), (1.0, 0.5, 0.2)
COLOURS = {
    "residual, BN": "#2060c0",
    "ReZero, BN": "#804090",
    "residual": "#d08020",
    "ReZero": "#c02040",
}


def convolution():
    return keras.layers.Conv2D(CHANNELS, 3, padding="same", kernel_initializer="he_normal")


def branch(is_normalised):
    """F of a block: its output has the shape of its input."""
    norms = [keras.layers.BatchNormalization(momentum=0.9) for _ in range(2)] if is_normalised else [None, None]
    layers = [convolution(), norms[0], keras.layers.ReLU(), convolution(), norms[1]]
    return keras.Sequential([layer for layer in layers if layer is not None])


def network(way):
    x = inputs = keras.Input((8, 8, 1))
    x = keras.layers.ReLU()(convolution()(x))
    for _ in range(BLOCKS):
        F = branch(way.endswith("BN"))
        x = ReZero(F)(x) if way.startswith("ReZero") else keras.layers.Add()([x, F(x)])
        x = keras.layers.ReLU()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))


def data():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = (x[order].reshape(-1, 8, 8, 1) / 8 - 1).astype(np.float32), y[order].astype(np.int32)
    border = len(y) * 2 // 3
    return (x[:border], y[:border]), (x[border:], y[border:])


def train(way, rate, seed):
    """Returns the loss of each step, and the error on the held-out images every 50 steps."""
    keras.utils.set_random_seed(seed)
    model, optimizer = network(way), keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)
    (x, y), held_out = data()

    @tf.function(autograph=False)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True)))
        optimizer.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]))
        return loss

    answer = tf.function(lambda x: tf.argmax(model(x, training=False), axis=1), autograph=False)
    rng, losses, errors, start = np.random.default_rng(seed), [], [], time.process_time()
    for t in range(STEPS):
        rows = rng.integers(0, len(y), BATCH)
        losses.append(float(step(tf.constant(x[rows]), tf.constant(y[rows]))))
        if (t + 1) % 50 == 0:
            errors.append(float(np.mean(answer(tf.constant(held_out[0])).numpy() != held_out[1])))
            if not np.isfinite(losses[-1]):
                break
    return {
        "losses": [float(f"{x:.4g}") for x in losses],
        "errors": errors,
        "seconds": round(time.process_time() - start, 1),
    }


def smooth(run):
    return np.convolve(run["losses"], np.full(MEAN_OVER, 1 / MEAN_OVER), "valid")


def steps_to(target, run):
    """Steps until the mean of the last batches is at the target; None where the run ended before."""
    found = np.flatnonzero(smooth(run) <= target)
    return int(found[0]) + MEAN_OVER if len(found) else None


def best_rate(by_rate):
    """The rate whose first run is first at the lowest target that any run reaches, else ends lowest."""
    for target in reversed(TARGETS):
        steps = {rate: steps_to(target, runs[0]) for rate, runs in by_rate.items()}
        if any(n is not None for n in steps.values()):
            return min(steps, key=lambda rate: (steps[rate] is None, steps[rate]))
    return min(by_rate, key=lambda rate: np.nan_to_num(smooth(by_rate[rate][0])[-1], nan=np.inf))


def run_of(way, rate, seed, work, report_only):
    path = work / f"{way}, {rate}, {seed}.json".replace(" ", "_")
    if not path.exists() and report_only:
        return None
    if not path.exists():
        run = train(way, rate, seed)
        path.write_text(json.dumps(run), encoding="utf-8")
        print(way, rate, seed, round(smooth(run)[-1], 4), run["errors"][-1], run["seconds"], flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def runs_of(work, seeds, report_only):
    """Trains what is missing, seed by seed; returns way -> rate -> runs by seed."""
    found = {way: {} for way in COLOURS}
    for seed in range(seeds):
        for way, own in found.items():
            for rate in [best_rate(own)] if seed and own else RATES:
                run = run_of(way, rate, seed, work, report_only)
                if run is not None:
                    own.setdefault(rate, []).append(run)
    return {way: by_rate for way, by_rate in found.items() if by_rate}


def summary(everything):
    rows = {}
    for way, by_rate in everything.items():
        rate = best_rate(by_rate)
        runs = by_rate[rate]
        rows[way] = {"rate": rate, "seeds": len(runs), "error": mean_with_interval([run["errors"][-1] for run in runs])}
        rows[way] |= {f"steps_to_{target}": [steps_to(target, run) for run in runs] for target in TARGETS}
        rows[way]["loss_of_first_seed_by_rate"] = {
            str(rate): float(f"{smooth(runs[0])[-1]:.4g}") for rate, runs in by_rate.items()
        }
    for way, row in rows.items():
        other = "residual, BN" if way.endswith("BN") else "residual"
        for target in TARGETS:
            key = f"steps_to_{target}"
            row[f"{key}_over_{other}"] = ratio_with_interval(row[key], rows[other][key])
    return rows


def draw(everything, path):
    figure, axis = plt.subplots(figsize=(6, 4))
    for way, by_rate in everything.items():
        for i, run in enumerate(by_rate[best_rate(by_rate)]):
            values = smooth(run)
            axis.plot(
                MEAN_OVER + np.arange(len(values)), values, color=COLOURS[way], lw=1, label=None if i else f"{way}"
            )
    for target in TARGETS:
        axis.axhline(target, color="black", linewidth=0.6, linestyle=":")
    axis.set(xlabel="step", ylabel="training cross-entropy", yscale="log", ylim=(0.03, 10))
    axis.set_title(f"{2 * BLOCKS + 1} convolutions of {CHANNELS} channels, digits", fontsize=10)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-rezero-convolution"))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--report-only", action="store_true", help="write the results of the runs that are finished")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for folder in (arguments.work, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)
    everything = runs_of(arguments.work, arguments.seeds, arguments.report_only)
    (arguments.out / "rezero_convolution.json").write_text(
        json.dumps(summary(everything), indent=1) + "\n", encoding="utf-8"
    )
    draw(everything, arguments.out / "rezero_convolution.png")


if __name__ == "__main__":
    main()
