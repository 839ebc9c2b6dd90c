"""The loss along two random directions, from ReLU's kink to very wide SmeLU: pictures, and counts of local minima.

    make bench-surface      (python -m benchmarks.loss_surface)

A network of 16 layers of 16 units and He's initialisation, four inputs, the squared error against 16 labels of -1 and
1, all drawn at random: one loss per seed, the same for all half-widths, on one plane of filter-normalised directions
(Li et al., 2018) of 41 x 41 points.

    start            around the initial weights, 0.3 of the weights' norms to each side
    start, wide      the same, 1.0 to each side
    normalised       as start, hidden outputs layer-normalised before the activation
    trained          as start, around the weights after 500 steps of Adam
    input            the output of such a network of two inputs, -3 to 3 each: the article's picture
    digits           scikit-learn's digits, 4 layers of 32 units, cross-entropy of 64 rows, after 500 steps of Adam, 1.0

Counts are in double precision. A minimum counts as deep if the pass from it to a lower one is 1% of the centre's loss
above it (of input: of the range of the output). Surfaces are kept in --work; rerun to resume. Writes
benchmarks/results/surface/. Cost: about 8 minutes of one core.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from benchmarks.over_seeds import mean_with_interval
from tfstable.analysis import filter_normalised_direction, local_minima, loss_surface
from tfstable.layers import SmeLU

RESULTS = Path(__file__).parent / "results" / "surface"
HALF_WIDTHS = (0.0, 0.25, 1.0, 4.0, 16.0)
ACTIVATIONS = (*map(str, HALF_WIDTHS), "linear")
# By name: half of the plane's side, and the number of seeds.
PARTS = {
    "start": (0.3, 12),
    "normalised": (0.3, 4),
    "input": (3.0, 8),
    "trained": (0.3, 4),
    "start, wide": (1.0, 3),
    "digits": (1.0, 3),
}
POINTS, STEPS, DEEP = 41, 500, 0.01
SHOWN = ("0.0", "0.25", "1.0", "4.0", "16.0", "linear")


def activation(name):
    if name == "linear":
        return keras.layers.Activation("linear")
    return keras.layers.ReLU() if float(name) == 0 else SmeLU(float(name))


def network(part, name, seed):
    """The same weights for all activations."""
    inputs, units, outputs = {"digits": (64, [32] * 4, 10), "input": (2, [16] * 16, 1)}.get(part, (4, [16] * 16, 1))
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((inputs,))]
    for width in units:
        bias = keras.initializers.RandomNormal(stddev=0.3)
        layers.append(keras.layers.Dense(width, kernel_initializer="he_normal", bias_initializer=bias))
        layers += [keras.layers.LayerNormalization()] if part == "normalised" else []
        layers.append(activation(name))
    return keras.Sequential([*layers, keras.layers.Dense(outputs)])


def loss_of(part, model, seed):
    rng = np.random.default_rng(seed)
    if part == "digits":
        x, y = load_digits(return_X_y=True)
        rows = rng.permutation(len(y))[:64]
        x, y = tf.constant(((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3))[rows]), tf.constant(y[rows], tf.int32)
        return lambda: tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x)))
    x, y = tf.constant(rng.normal(size=(16, 4))), tf.constant(rng.choice([-1.0, 1.0], size=(16, 1)))
    return lambda: tf.reduce_mean(tf.square(model(x) - y))


def train(loss, variables):
    optimizer = keras.optimizers.Adam(0.003)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            value = loss()
        optimizer.apply(tape.gradient(value, [v.value for v in variables]))

    for _ in range(STEPS):
        step()


def surface_of(part, name, seed):
    """The surface, and the value to judge depths by."""
    half, _ = PARTS[part]
    model, steps = network(part, name, seed), np.linspace(-half, half, POINTS)
    if part == "input":
        x = tf.Variable(np.zeros((1, 2)))
        axes = [np.array([[1.0, 0.0]])], [np.array([[0.0, 1.0]])]
        surface = loss_surface(lambda: tf.reduce_sum(model(x)), [x], axes, steps)
        return surface, float(np.ptp(surface))
    loss, variables = loss_of(part, model, seed), model.trainable_variables
    if part in ("trained", "digits"):
        train(loss, variables)
    directions = tuple(filter_normalised_direction(variables, seed=2 * seed + i) for i in range(2))
    surface = loss_surface(loss, variables, directions, steps)
    return surface, float(surface[POINTS // 2, POINTS // 2])


def path_of(part, name, seed, work):
    return work / f"{part}, {name}, {seed}.npz".replace(" ", "_")


def kept(part, name, seed, work):
    path = path_of(part, name, seed, work)
    if not path.exists():
        surface, scale = surface_of(part, name, seed)
        np.savez_compressed(path, surface=surface, scale=scale)
        print(part, name, seed, len(local_minima(surface)), flush=True)
    with np.load(path) as found:
        return found["surface"], float(found["scale"])


def summary(part, found):
    """By activation: counts with intervals over seeds, and their difference to ReLU by seed."""
    rows, of_relu = {}, {}
    seeds = len(found["linear"])
    for name in ACTIVATIONS:
        counts = {
            "minima": [len(local_minima(s, 1e-12 * scale)) for s, scale in found[name]],
            "deep": [len(local_minima(s, DEEP * scale)) for s, scale in found[name]],
        }
        of_relu = of_relu or counts
        rows[name] = {"seeds": seeds}
        for kind, own in counts.items():
            rows[name][kind] = mean_with_interval(own)
            differences = [n - m for n, m in zip(own, of_relu[kind], strict=True)]
            rows[name][f"{kind}_over_relu"] = mean_with_interval(differences)
        rows[name]["loss_at_centre"] = mean_with_interval([s[POINTS // 2, POINTS // 2] for s, _ in found[name]])
    return rows


def draw(part, found, seed, path):
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(2.2 * len(SHOWN), 2.5))
    half = PARTS[part][0]
    for axis, name in zip(axes, SHOWN, strict=True):
        surface = found[name][seed][0]
        shown = surface if part == "input" else np.log(surface)
        axis.contourf(shown.T, levels=24, extent=(-half, half, -half, half), cmap="viridis")
        minima = local_minima(surface, 1e-12)
        if len(minima):
            x, y = (np.linspace(-half, half, POINTS)[axis_of] for axis_of in minima.T)
            axis.plot(x, y, "o", color="#ff3040", markersize=3)
        axis.set_title(f"{title_of(name)}: {len(minima)}", fontsize=9)
        axis.tick_params(labelsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def title_of(name):
    return name if name == "linear" else f"half-width {float(name):g}" if float(name) else "ReLU"


def interval(figure):
    spread = "" if figure["low"] is None else f" [{figure['low']:.1f}, {figure['high']:.1f}]"
    return f"{figure['mean']:.1f}{spread}"


def markdown(table):
    lines = [
        "# Local minima on a plane of 41 x 41 points",
        "",
        "`make bench-surface`: mean over seeds [95% interval].",
        "",
    ]
    for part, rows in table.items():
        lines += [
            f"## {part}, {rows['linear']['seeds']} seeds",
            "",
            "| activation | minima | minus ReLU's | deep | minus ReLU's | centre |",
        ]
        lines.append("|---|---|---|---|---|---|")
        for name, row in rows.items():
            kinds = ("minima", "minima_over_relu", "deep", "deep_over_relu")
            cells = [interval(row[kind]) for kind in kinds]
            lines.append(f"| {title_of(name)} | {' | '.join(cells)} | {row['loss_at_centre']['mean']:.3g} |")
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-surface"))
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--report-only", action="store_true", help="write the results of the seeds that are finished")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.config.set_floatx("float64")
    for folder in (arguments.work, arguments.out):
        folder.mkdir(parents=True, exist_ok=True)
    table = {}
    for part in arguments.parts:
        found = {name: [] for name in ACTIVATIONS}
        for seed in range(PARTS[part][1]):
            if arguments.report_only and not all(path_of(part, name, seed, arguments.work).exists() for name in found):
                break
            for name in ACTIVATIONS:
                found[name].append(kept(part, name, seed, arguments.work))
        if not found["linear"]:
            continue
        table[part] = summary(part, found)
        draw(part, found, 0, arguments.out / f"{part.replace(', ', '_')}.png")
    (arguments.out / "surface.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "surface.md").write_text(markdown(table), encoding="utf-8")


if __name__ == "__main__":
    main()
