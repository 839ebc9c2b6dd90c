"""Clippy on weights that start at zero."""

import keras
import numpy as np
import tensorflow as tf

from tfstable.optimizers import Adagrad, Clippy


def zeros():
    """What weights that start at zero do to Clippy, by threshold and scope: factors of the first 50 steps, loss.

    A small ranking model: fresh rows (zeros) for ids, two ReZero blocks (alpha = 0), biases of zero, an output. Clicks
    are drawn from a fixed random network. The loss is the mean over the last 50 of 300 steps, and over two seeds.
    """
    clippings = {"no_clipping": None, "tensor_tfrs_default": Clippy(0.1, 1e-7), "tensor_1e-2": Clippy()}
    clippings |= {f"{scope}_1e-3": Clippy(0.5, 1e-3, scope=scope) for scope in ("tensor", "row", "element")}
    result = {}
    for rate in (0.3, 1.0):
        for name, clipping in clippings.items():
            result[f"{name}_at_{rate}"] = average([train_from_zeros(rate, clipping, seed) for seed in range(2)])
    return result


def average(results):
    return {key: round(float(np.mean([r[key] for r in results])), 3) for key in results[0]}


def train_from_zeros(rate, clipping, seed, width=32, ids=500, batch=256, steps=300):
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    table = keras.Variable(np.zeros((ids, width)), dtype="float32", name="fresh_rows")
    table.is_embedding_table = True
    dense = {f"kernel_{i}": rng.normal(size=(width, width)) * (2 / width) ** 0.5 for i in range(2)}
    dense |= {f"bias_{i}": np.zeros(width) for i in range(2)} | {f"alpha_{i}": np.zeros(()) for i in range(2)}
    dense |= {"input": rng.normal(size=(8, width)) * 8**-0.5, "out": rng.normal(size=(width, 1)) * width**-0.5}
    dense = {name: keras.Variable(value, dtype="float32", name=name) for name, value in dense.items()}
    variables = [table, *dense.values()]
    truth = rng.normal(size=ids), rng.normal(size=(8, 16)), rng.normal(size=(16, 1))
    optimizer = Adagrad(rate, clipping=clipping, track_every=1)
    optimizer.build(variables)

    @tf.function
    def step(id, features, click):
        with tf.GradientTape() as tape:
            h = tf.gather(table.value, id) + features @ dense["input"]
            for i in range(2):
                h += dense[f"alpha_{i}"] * tf.nn.relu(h @ dense[f"kernel_{i}"] + dense[f"bias_{i}"])
            losses = tf.nn.sigmoid_cross_entropy_with_logits(click, (h @ dense["out"])[:, 0])
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    losses, factors = [], []
    for _ in range(steps):
        id, features = rng.integers(0, ids, size=batch), rng.normal(size=(batch, 8))
        logits = truth[0][id] + (np.maximum(features @ truth[1], 0) @ truth[2])[:, 0] / 4
        click = rng.random(batch) < 1 / (1 + np.exp(-logits))
        batch_of = tf.constant(id), tf.constant(features, tf.float32), tf.constant(click, tf.float32)
        losses.append(float(step(*batch_of)))
        factors.append({path: figures["clipping_factor"] for path, figures in optimizer.diagnostics().items()})
    groups = {"fresh_rows": "fresh", "biases": "bias", "alphas": "alpha", "kernels": "kernel"}
    start = {
        name: np.mean([f for step in factors[:50] for path, f in step.items() if path.startswith(prefix)])
        for name, prefix in groups.items()
    }
    return {"loss": np.mean(losses[-50:])} | start
