"""The cost of each layer compared with its obvious rival, forward and backward, as ratios measured in one run.

    pip install -e '.[peers]'
    python -m benchmarks.layers_speed    # 2 minutes on 2 cores; writes benchmarks/results/layers/speed.*

The sides of each comparison take turns, so that other load on the machine affects both. A ratio is the median over the
turns with its quartiles; a second ratio, of the fastest turns, is affected least by other load. Every side is a
tf.function that returns the gradients of all weights and of the input. TFRS runs on Keras 2 in the same process.
"""

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
import tensorflow as tf
from tensorflow_recommenders.layers.feature_interaction.dcn import Cross

from tfstable.layers import CrossTower, GeneralisedSmeLU, ReZero, ReZeroStack, smelu

RESULTS = Path(__file__).parent / "results" / "layers"
TURNS = 30
ACTIVATIONS = {
    "ReLU": tf.nn.relu,
    "SmeLU": smelu,
    "GELU": tf.nn.gelu,
    "Swish": tf.nn.silu,
    "generalised SmeLU": GeneralisedSmeLU(1.0, 1.0, 0.1),
}


def gradients(f, x, weights=(), jit=False):
    """Returns a function of no argument that runs f forward and backward."""
    upstream = tf.random.normal(f(x).shape, dtype=x.dtype)
    weights = list(weights() if callable(weights) else weights)

    @tf.function(jit_compile=jit)
    def run(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        return tape.gradient(y, [x, *weights], upstream)

    return lambda: run(x, upstream)


def bare(dtype=tf.float32, jit=False):
    x = tf.cast(tf.random.normal((1024, 256)), dtype)
    return {name: gradients(f, x, jit=jit) for name, f in ACTIVATIONS.items()}


def four_layers(jit=False):
    """A stack of 4 dense layers of width 256 at batch 1024: what the choice of activation costs a network."""
    sides, x = {}, tf.random.normal((1024, 256))
    for name, f in ACTIVATIONS.items():
        model = keras.Sequential([keras.layers.Dense(256, activation=f) for _ in range(4)])
        model(x)
        sides[name] = gradients(model, x, [v.value for v in model.weights], jit)
    return sides


def crosses():
    """Two cross layers on a vector of 256 at batch 1024."""
    x, sides = tf.random.normal((1024, 256)), {}
    towers = {
        "full": CrossTower(2),
        "rank 64": CrossTower(2, 64),
        "4 experts of rank 64": CrossTower(2, 64, 4),
        "4 experts of rank 16": CrossTower(2, 16, 4),
    }
    for name, tower in towers.items():
        tower(x)
        sides[name] = gradients(tower, x, [v.value for v in tower.weights])
    for name, rank in {"TFRS, full": None, "TFRS, rank 64": 64}.items():
        pair = [Cross(projection_dim=rank) for _ in range(2)]

        def tower(x, pair=pair):
            return pair[1](x, pair[0](x, x))

        tower(x)
        sides[name] = gradients(tower, x, [w for layer in pair for w in layer.weights])
    return sides


def residuals():
    """100 dense layers of width 150 at batch 100."""
    x, sides = tf.random.normal((100, 150)), {}
    models = {
        "plain": keras.Sequential([keras.layers.Dense(150, "relu") for _ in range(100)]),
        "ReZero around each": keras.Sequential([ReZero(keras.layers.Dense(150, "relu")) for _ in range(100)]),
        "ReZeroStack": ReZeroStack(100),
    }
    for name, model in models.items():
        model(x)
        sides[name] = gradients(model, x, [v.value for v in model.weights])
    return sides


def compare(sides, base, steps):
    for run in sides.values():
        run(), run()  # traces, allocates, fills caches
    seconds = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, run in sides.items():
            start = time.perf_counter()
            for _ in range(steps):
                run()
            seconds[name].append((time.perf_counter() - start) / steps)
    result = {}
    for name, turns in seconds.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(turns, seconds[base], strict=True)], n=4)
        result[name] = {
            "over": base,
            "ratio": round(middle, 3),
            "quartiles": [round(low, 3), round(high, 3)],
            "fastest": round(min(turns) / min(seconds[base]), 3),
            "median_ms": round(1e3 * statistics.median(turns), 3),
        }
    return result


def draw(results, path):
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.5))
    for ax, (title, sides) in zip(axes.flat, results.items(), strict=True):
        names = list(sides)
        for i, side in enumerate(sides.values()):
            low, high = side["quartiles"]
            ax.barh(i, side["ratio"], color="#c02040" if names[i] == "SmeLU" else "#2060c0")
            ax.plot([low, high], [i, i], color="black", linewidth=1)
        ax.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
        ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.invert_yaxis()
        ax.set_title(title, fontsize=9)
        ax.set_xlabel(f"time / time of {next(iter(sides.values()))['over']}", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    keras.utils.set_random_seed(0)
    results = {
        "activation alone, 1024 x 256": compare(bare(), "ReLU", 20),
        "activation alone, XLA": compare(bare(jit=True), "ReLU", 20),
        "activation alone, bfloat16": compare(bare(tf.bfloat16), "ReLU", 20),
        "4 dense layers of 256, batch 1024": compare(four_layers(), "ReLU", 2),
        "2 cross layers of 256, batch 1024": compare(crosses(), "full", 2),
        "100 dense layers of 150, batch 100": compare(residuals(), "plain", 1),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = {"tensorflow": tf.__version__, "keras": keras.__version__, "cores": os.cpu_count()}
    report |= {"machine": platform.machine(), "turns": TURNS, "results": results}
    (RESULTS / "speed.json").write_text(json.dumps(report, indent=1) + "\n")
    for title, sides in results.items():
        print(title, {name: (side["ratio"], side["fastest"]) for name, side in sides.items()}, flush=True)
    draw(results, RESULTS / "speed.png")


if __name__ == "__main__":
    main()
