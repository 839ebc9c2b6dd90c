"""Singular values of the input-output Jacobian through 64 transformer layers, before any training.

    pip install -e '.[peers]'
    python -m benchmarks.jacobian    # about a minute on 2 cores; writes benchmarks/results/layers/jacobian.*

The same attention and feed-forward parts, with Keras's initialisation, are combined in four ways: plain F(x), residual
x + F(x), post-norm LN(x + F(x)) as in Vaswani et al. (2017), and ReZero. The Jacobian belongs to one sequence of 4
elements of width 16, flattened, in double precision.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from tfstable.layers import ReZeroEncoder

RESULTS = Path(__file__).parent / "results" / "layers"
DEPTHS, LENGTH, WIDTH = (1, 4, 16, 64), 4, 16


def branches(encoder):
    """The two functions F of an encoder layer."""
    return (lambda x: encoder.attention.layer(x, x)), encoder.feed_forward.layer


def normalised(x):
    return (x - tf.reduce_mean(x, -1, keepdims=True)) / (tf.math.reduce_std(x, -1, keepdims=True) + 1e-3)


WAYS = {
    "plain": lambda encoder, x: _each(encoder, x, lambda x, F: F(x)),
    "residual": lambda encoder, x: _each(encoder, x, lambda x, F: x + F(x)),
    "post-norm": lambda encoder, x: _each(encoder, x, lambda x, F: normalised(x + F(x))),
    "ReZero": lambda encoder, x: encoder(x),
}


def _each(encoder, x, step):
    for F in branches(encoder):
        x = step(x, F)
    return x


def singular_values(encoder_layers, way, x):
    """Singular values of the product of the layers' Jacobians, each taken where the signal has come to."""
    size = LENGTH * WIDTH
    total = np.eye(size)
    for encoder in encoder_layers:
        rows = tf.repeat(x, size, axis=0)  # A copy of the sequence for each element of the output.
        with tf.GradientTape() as tape:
            tape.watch(rows)
            y = way(encoder, rows)
        upstream = tf.reshape(tf.eye(size, dtype=x.dtype), (size, LENGTH, WIDTH))
        total = tape.gradient(y, rows, upstream).numpy().reshape(size, size) @ total
        x = y[:1]
    return np.linalg.svd(total, compute_uv=False)


def main():
    keras.utils.set_random_seed(0)
    x = tf.random.normal((1, LENGTH, WIDTH), dtype=tf.float64)
    encoders = [ReZeroEncoder(4, 4 * WIDTH, dtype="float64") for _ in range(max(DEPTHS))]
    for encoder in encoders:
        encoder(x)
    values = {name: {d: singular_values(encoders[:d], way, x) for d in DEPTHS} for name, way in WAYS.items()}
    summary = {
        name: {d: {"mean": v.mean(), "smallest": v[-1], "largest": v[0]} for d, v in by_depth.items()}
        for name, by_depth in values.items()
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "jacobian.json").write_text(json.dumps(summary, indent=1) + "\n")
    for name, by_depth in summary.items():
        print(name, {d: float(f"{v['mean']:.4g}") for d, v in by_depth.items()})
    draw(values, RESULTS / "jacobian.png")


def draw(values, path):
    figure, axes = plt.subplots(1, len(DEPTHS), figsize=(12, 3.6), sharey=True)
    colours = dict(zip(WAYS, ["#444444", "#d08020", "#2060c0", "#c02040"], strict=True))
    for ax, depth in zip(axes, DEPTHS, strict=True):
        for name, by_depth in values.items():
            v = np.maximum(by_depth[depth], 1e-20)
            ax.plot(np.arange(1, len(v) + 1), v, color=colours[name], label=name)
        ax.set(yscale="log", ylim=(1e-12, 1e12), xlabel="index of singular value")
        ax.set_title(f"{depth} layer{'s' if depth > 1 else ''}", fontsize=10)
    axes[0].set_ylabel("singular value at the start")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
