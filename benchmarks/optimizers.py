"""The cost of an optimizer step, as ratios measured in one run.

    pip install -e '.[peers]'
    python -m benchmarks.optimizers      # about 6 minutes on 2 cores, 6 GB; writes benchmarks/results/optimizers.json

The sides of each ratio take turns within the run, so that other load on the machine affects both. A ratio is the median
over the turns with its quartiles; a second ratio, of the fastest turns, is affected least by other load. TFRS and Keras
2 run in the same process: TF_USE_LEGACY_KERAS=1 leaves `import keras` at Keras 3.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # for TFRS; must stand before TensorFlow is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_recommenders.experimental.optimizers import ClippyAdagrad as ClippyAdagradOfTFRS

from tfstable.optimizers import (
    SGD,
    Adagrad,
    AdaptiveGradient,
    Clippy,
    ClippyAdagrad,
    Composite,
    Ema,
    GradientNorm,
    Group,
    TrustRatio,
)
from tfstable.optimizers.rows import sum_duplicates

RESULTS = Path(__file__).parent / "results"
WIDTH, BATCH = 16, 4096


def measure(sides, turns, steps):
    """Seconds a step of each side, a list over turns; `sides` maps names to functions of no argument."""
    for run in sides.values():
        run(), run()  # traces, allocates, fills caches
    seconds = {name: [] for name in sides}
    for _ in range(turns):
        for name, run in sides.items():
            start = time.perf_counter()
            for _ in range(steps):
                run()
            seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def ratio(seconds, numerator, denominator):
    """How many times as long one side takes: the median over turns, its quartiles, and that of the fastest turns."""
    turns = sorted(a / b for a, b in zip(seconds[numerator], seconds[denominator], strict=True))
    low, middle, high = statistics.quantiles(turns, n=4)
    fastest = min(seconds[numerator]) / min(seconds[denominator])
    return {"ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)], "fastest": round(fastest, 3)}


def milliseconds(seconds):
    return {name: round(1e3 * statistics.median(turns), 3) for name, turns in seconds.items()}


def make_table(height):
    """A table as a layer of tfstable makes it: a Keras variable, looked up by rows."""
    table = keras.Variable(tf.random.stateless_uniform([height, WIDTH], [1, 2], -0.05, 0.05), name="ids")
    table.is_embedding_table = True
    return table


def embedding_step(tables, optimizer, ids, units=(64,)):
    """One whole training step: look up, dense layers, squared error, gradients, update."""
    sizes = [len(tables) * WIDTH, *units, 1]
    kernels = [tf.Variable(tf.random.stateless_normal([n, m], [3, 4]) * n**-0.5) for n, m in itertools.pairwise(sizes)]
    variables = [*tables, *kernels]
    handles = [t.value if isinstance(t, keras.Variable) else t for t in tables]
    optimizer.build(variables)
    numbers = iter(range(10**9))

    @tf.function
    def step(ids):
        with tf.GradientTape() as tape:
            hidden = tf.concat([tf.gather(handle, ids[:, i]) for i, handle in enumerate(handles)], axis=1)
            for kernel in kernels[:-1]:
                hidden = tf.nn.relu(hidden @ kernel)
            loss = tf.reduce_mean(tf.square(hidden @ kernels[-1] - 1.0))
        gradients = tape.gradient(loss, [*handles, *kernels])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return lambda: step(ids[next(numbers) % len(ids)])


def some_ids(height, tables=1, batches=8):
    """Batches of ids, (BATCH, tables): popular ones often, as in a log; equally many distinct ones for every height."""
    rng = np.random.default_rng(0)
    ids = (rng.zipf(1.2, size=(batches, BATCH, tables)) - 1) % 10_000 * (height // 10_000)
    return [tf.constant(batch, tf.int64) for batch in ids]


def by_height():
    """A step must not depend on the height of the table; the update alone stands beside it."""
    sides = {}
    for height in (10**4, 10**5, 10**6, 10**7):
        sides[f"step_{height}"] = embedding_step([make_table(height)], ClippyAdagrad(0.1), some_ids(height))
        sides[f"update_{height}"] = table_update(make_table(height), height)
    seconds = measure(sides, turns=15, steps=10)
    return {
        "milliseconds": milliseconds(seconds),
        "step_1e7_v_1e4": ratio(seconds, "step_10000000", "step_10000"),
        "update_1e7_v_1e4": ratio(seconds, "update_10000000", "update_10000"),
    }


def table_update(table, height):
    optimizer = ClippyAdagrad(0.1)
    optimizer.build([table])
    values, ids = tf.random.stateless_normal([BATCH, WIDTH], [7, 8]), some_ids(height)
    numbers = iter(range(10**9))

    @tf.function
    def update(ids):
        optimizer.apply([tf.IndexedSlices(values, ids)], [table])

    return lambda: update(ids[next(numbers) % len(ids)][:, 0])


def averaging():
    """The price of an average of the weights in a whole step, and that it does not depend on the table's height."""
    sides = {}
    for units in ((64,), (256, 256)):
        for height in (10**4, 10**6, 10**7):
            for name, average in (("raw", None), ("ema", Ema(1000))):
                optimizer = Composite([Group("", ClippyAdagrad(0.1))], averaging=average)
                step = embedding_step([make_table(height)], optimizer, some_ids(height), units)
                sides[f"{name}_{height}_{len(units)}x{units[0]}"] = step
    seconds = measure(sides, turns=31, steps=5)
    pairs = [("ema_1000000_2x256", "raw_1000000_2x256"), ("ema_10000000_2x256", "ema_10000_2x256")]
    pairs += [("raw_10000000_2x256", "raw_10000_2x256"), ("ema_1000000_1x64", "raw_1000000_1x64")]
    return {"milliseconds": milliseconds(seconds)} | {f"{a}_v_{b}": ratio(seconds, a, b) for a, b in pairs}


def by_peer():
    """Ours and the peers' on 8 tables of a million rows: the same step, only the optimizer differs."""
    height, ids = 10**6, some_ids(10**6, tables=8)

    def tables():
        return [tf.Variable(tf.random.stateless_uniform([height, WIDTH], [i, 2], -0.05, 0.05)) for i in range(8)]

    sides = {
        "adagrad": embedding_step(tables(), Adagrad(0.01), ids),
        "clippy_adagrad": embedding_step(tables(), ClippyAdagrad(0.1), ids),
        "clippy_adagrad_unguarded": embedding_step(tables(), Unguarded(0.1), ids),
        "keras_3_adagrad": embedding_step(tables(), keras.optimizers.Adagrad(0.01), ids),
        "keras_2_adagrad": embedding_step(tables(), tf_keras.optimizers.Adagrad(0.01), ids),
        "tfrs_clippy_adagrad": embedding_step(tables(), ClippyAdagradOfTFRS(0.1), ids),
    }
    seconds = measure(sides, turns=15, steps=3)
    return {
        "milliseconds": milliseconds(seconds),
        "keras_3_v_ours": ratio(seconds, "keras_3_adagrad", "adagrad"),
        "keras_2_v_ours": ratio(seconds, "keras_2_adagrad", "adagrad"),
        "tfrs_v_ours": ratio(seconds, "tfrs_clippy_adagrad", "clippy_adagrad"),
        "guard_v_none": ratio(seconds, "clippy_adagrad", "clippy_adagrad_unguarded"),
    }


class Unguarded(ClippyAdagrad):
    """The same update with neither the flag nor the branch, to price them."""

    def _apply(self, gradients, variables):
        gradients = [
            sum_duplicates(g, v.shape[0]) if isinstance(g, tf.IndexedSlices) else g
            for g, v in zip(gradients, variables, strict=True)
        ]
        strategy = tf.distribute.get_strategy()
        tf.distribute.get_replica_context().merge_call(
            lambda *_: self.update_variables(strategy, list(zip(gradients, variables, strict=True)))
        )
        self.iterations.assign_add(1)


def dense_update(optimizer, layers=4, width=2048):
    """The update of `dense_step` alone."""
    kernels = [tf.Variable(tf.random.stateless_normal([width, width], [i, 1]) * width**-0.5) for i in range(layers)]
    gradients = [tf.random.stateless_normal([width, width], [i, 2]) for i in range(layers)]
    optimizer.build(kernels)
    return tf.function(lambda: optimizer.apply(gradients, kernels), autograph=False)


def dense_step(optimizer, layers=4, width=2048, batch=1024):
    kernels = [tf.Variable(tf.random.stateless_normal([width, width], [i, 1]) * width**-0.5) for i in range(layers)]
    out = tf.Variable(tf.random.stateless_normal([width, 1], [9, 1]) * width**-0.5)
    x = tf.random.stateless_normal([batch, width], [8, 1])
    optimizer.build([*kernels, out])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            h = x
            for kernel in kernels:
                h = tf.nn.relu(h @ kernel)
            loss = tf.reduce_mean(tf.square(h @ out - 1.0))
        gradients = tape.gradient(loss, [*kernels, out])
        optimizer.apply_gradients(zip(gradients, [*kernels, out], strict=True))

    return step


def dense():
    """The price of Clippy, and of the finite flag, on 4 layers of 2048 and a batch of 1024."""
    sides = {
        "adagrad": dense_step(Adagrad(0.01)),
        "clippy_adagrad": dense_step(ClippyAdagrad(0.1)),
        "update": dense_update(ClippyAdagrad(0.1)),
        "update_unguarded": dense_update(Unguarded(0.1)),
    }
    seconds = measure(sides, turns=21, steps=1)
    # The guard is a few milliseconds of a step of a second, less than whole steps vary: take it from updates alone.
    guard = min(seconds["update"]) - min(seconds["update_unguarded"])
    return {
        "milliseconds": milliseconds(seconds),
        "clippy_v_none": ratio(seconds, "clippy_adagrad", "adagrad"),
        "guard_share_of_step": round(guard / min(seconds["clippy_adagrad"]), 4),
    }


def memory():
    """The most memory beyond what was resident before the steps, for a table of 10^7 rows (640 MB)."""
    height = 10**7
    run = embedding_step([make_table(height)], ClippyAdagrad(0.1), some_ids(height))
    run(), run()
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    for _ in range(20):
        run()
    return {"table_mb": height * WIDTH * 4 / 1e6, "peak_above_resident_mb": round(resident("VmHWM") - before, 1)}


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


def quadratic():
    """Figure 3 of the paper: f(w) = (20 w_1^2 + w_2^2) / 2. Descent diverges beyond 2/20; clipped, it does not."""
    picture, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
    treatments = {
        "none": None,
        "GC": GradientNorm(1.0),
        "AGC": AdaptiveGradient(0.1),
        "LAMB": TrustRatio(1.0),
        "Clippy": Clippy(0.5, 1e-2),
    }
    result = {}
    for axis, rate in zip(axes, (0.09, 0.11, 0.2), strict=True):
        for name, clipping in treatments.items():
            losses = descend(rate, clipping)
            axis.semilogy(losses, label=name)
            result[f"{name}_at_{rate}"] = float(f"{losses[-1]:.3g}")
        axis.set(title=f"learning rate {rate} (2/20 = 0.1)", xlabel="step", ylim=(1e-8, 1e8))
    axes[0].set_ylabel("loss")
    axes[0].legend()
    picture.tight_layout()
    picture.savefig(RESULTS / "optimizers_quadratic.png", dpi=100)
    return result


def descend(rate, clipping, steps=100):
    w = keras.Variable([1.0, 1.0], name="w")
    curvature = tf.constant([20.0, 1.0])
    optimizer, losses = SGD(rate, clipping=clipping), []
    for _ in range(steps):
        losses.append(float(tf.reduce_sum(curvature * w.value**2) / 2))
        optimizer.apply([curvature * w.value], [w])
    return losses


def resident(field):
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "optimizers.json")
    parser.add_argument(
        "--only", choices=["memory", "by_height", "averaging", "by_peer", "dense", "zeros", "quadratic"]
    )
    arguments = parser.parse_args()
    parts = [memory, by_height, averaging, by_peer, dense, zeros, quadratic]
    result = {
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()[0]},
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "tf_keras": tf_keras.__version__},
    }
    for part in parts:
        if arguments.only in (None, part.__name__):
            result[part.__name__] = part()
            print(part.__name__, json.dumps(result[part.__name__], indent=2), flush=True)
            keras.backend.clear_session()
    if arguments.only is None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
