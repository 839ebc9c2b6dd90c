"""A network of 10,000 layers trains.

    pip install -e '.[peers]'
    python -m benchmarks.rezero_10000    # 10 minutes on 2 cores, 7 GB; writes benchmarks/results/layers/rezero_10000.*

The authors' setting (10,000 ReLU layers of width 150, 225 million weights, Adagrad, batches of 100) on the 1797
handwritten digits of scikit-learn, for MINUTES of training. Before that, the time to trace a training step and the
number of operations in its graph, per depth. The rate is a tenth of the authors' 0.003: at 0.003, 10,000 gates that
open together multiply the output, the loss of the second step is 6e4, and recovery takes long.
"""

import json
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfstable.layers import ReZeroStack
from tfstable.optimizers import Adagrad

RESULTS = Path(__file__).parent / "results" / "layers"
DEPTH, WIDTH, BATCH, MINUTES = 10_000, 150, 100, 9


def training_step(depth):
    """Returns a traced training step, the stack, the seconds to trace it and the operations in its graph."""
    stack = ReZeroStack(depth)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(WIDTH, "relu"), stack, keras.layers.Dense(10)])
    optimizer = Adagrad(0.0003)
    optimizer.build(model.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec((None, 64)), tf.TensorSpec((None,), tf.int32)])
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x)))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    start = time.perf_counter()
    traced = step.get_concrete_function()
    seconds = time.perf_counter() - start
    graph = traced.graph.as_graph_def()
    operations = len(graph.node) + sum(len(function.node_def) for function in graph.library.function)
    return traced, stack, {"trace_seconds": round(seconds, 2), "operations": operations}


def draw(losses, path):
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(range(1, len(losses) + 1), losses, ".", color="#c02040", markersize=4, label="batch of 100")
    smooth = np.convolve(losses, np.full(9, 1 / 9), "valid")
    axes.plot(np.arange(len(smooth)) + 5, smooth, color="#2060c0", label="mean of 9 batches")
    axes.axhline(np.log(10), color="black", linewidth=0.8, linestyle=":", label="chance, ln 10")
    axes.set(xlabel="step", ylabel="training cross-entropy", ylim=(0, None))
    axes.set_title(f"{DEPTH:,} ReZero layers of width {WIDTH}, digits, Adagrad at 0.0003", fontsize=10)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = tf.constant((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3), tf.float32)
    y = tf.constant(y, tf.int32)
    by_depth = {depth: training_step(depth)[2] for depth in (100, 1000)}
    step, stack, by_depth[DEPTH] = training_step(DEPTH)
    print(by_depth, flush=True)

    rng, losses, seconds, epoch = np.random.default_rng(0), [], [], len(y) // BATCH
    end = time.perf_counter() + 60 * MINUTES
    while time.perf_counter() < end:
        order = rng.permutation(len(y))[: epoch * BATCH].reshape(epoch, BATCH)
        for rows in order:
            start = time.perf_counter()
            losses.append(round(float(step(tf.gather(x, rows), tf.gather(y, rows))), 5))
            seconds.append(time.perf_counter() - start)
            print(len(losses), losses[-1], round(seconds[-1], 2), flush=True)
            if time.perf_counter() > end:
                break
    report = {
        "setting": f"digits of scikit-learn, {DEPTH} x {WIDTH}, ReLU, Adagrad 0.0003, batch {BATCH}",
        "weights": int(sum(np.prod(w.shape) for w in stack.weights)),
        "by_depth": by_depth,
        "steps": len(losses),
        "seconds_a_step": {"first": round(seconds[0], 2), "median": round(float(np.median(seconds)), 2)},
        "minutes": round(sum(seconds) / 60, 1),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "epoch_means": [round(float(np.mean(losses[i : i + epoch])), 4) for i in range(0, len(losses), epoch)],
        "open_gates": float(np.mean(stack.alpha.numpy() != 0)),
        "losses": losses,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "rezero_10000.json").write_text(json.dumps(report) + "\n")
    draw(losses, RESULTS / "rezero_10000.png")


if __name__ == "__main__":
    main()
