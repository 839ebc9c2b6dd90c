"""Transformers of 12, 64 and 128 layers with and without ReZero, and a decoder beside an encoder.

    make bench-rezero       (python -m benchmarks.rezero_transformers)

Language models of characters (the help texts of Python, `pydoc_data.topics`, the last tenth held out), width 32,
sequences of 32, batches of 8, Adam. All ways combine the same branches, attention under a causal mask and a
feed-forward part, with Keras's initialisation:

    plain          x <- F(x)
    residual       x <- x + F(x)
    post-norm      x <- LN(x + F(x)), as in Vaswani et al., 2017; also with WARM_UP steps of linear warm-up
    pre-norm       x <- x + F(LN(x)), and one LN at the end
    ReZero         x <- x + alpha F(x) from alpha = 0; also from alpha = 1

deep: 64 and 128 layers, the loss after STEPS. fast: 12 layers, the steps to a loss on held-out text, as the paper's
table 2. pair: 6 encoder and 6 decoder layers learn to reverse sequences of 16 letters.
The rate of each way is the best by the first seed, in the same part: of fast among RATES, of 128 layers 0.003 alone,
else of 0.001 and 0.003. Figures are from all seeds. Runs are kept in --work; rerun to resume. Writes
benchmarks/results/layers/rezero_transformers.json and .png. Cost: about 20 minutes of one core.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pydoc_data.topics

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from benchmarks.over_seeds import mean_with_interval, ratio_with_interval
from benchmarks.transformer_ways import Network

RESULTS = Path(__file__).parent / "results" / "layers"
LENGTH, BATCH, HELD_OUT, LOOK_EVERY, WARM_UP = 32, 8, 128, 25, 100
RATES = (0.001, 0.003, 0.01)
# By name: whether the rate warms up. The first word is how branches are combined.
WAYS = {
    "plain": False,
    "residual": False,
    "post-norm": False,
    "post-norm, warm-up": True,
    "pre-norm": False,
    "ReZero": False,
    "ReZero from 1": False,
}
# By name: layers of an encoder and of a decoder; steps; targets in bits; ways; seeds.
PARTS = {
    "deep 64": (0, 64, 200, (), tuple(WAYS), 3),
    "deep 128": (0, 128, 200, (), tuple(WAYS), 2),
    "fast": (0, 12, 700, (3.6, 3.4, 3.2), tuple(WAYS)[2:], 3),
    "pair": (6, 6, 800, (2.0, 1.0, 0.1), tuple(WAYS)[2:], 3),
}
OF_PART = {"fast": RATES, "deep 128": RATES[1:2]}  # The rates that are tried; of the others the first two.
LETTERS, WORD = 16, 16
GIVEN_UP = 50.0  # Bits of a loss that will not come back.


class Text:
    """Characters of Python's help texts; of each sequence the next ones are wanted."""

    length = LENGTH

    def __init__(self):
        text = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
        letters = sorted(set(text))
        codes = np.searchsorted(letters, list(text)).astype(np.int32)
        self.vocabulary, border = len(letters), len(codes) * 9 // 10
        self._codes, self._held_out = codes[:border], codes[border:]

    def batch(self, rng):
        return self._cut(self._codes, rng.integers(0, len(self._codes) - LENGTH - 1, BATCH))

    def held_out(self):
        return self._cut(self._held_out, np.linspace(0, len(self._held_out) - LENGTH - 2, HELD_OUT).astype(int))

    def _cut(self, codes, starts):
        rows = tf.constant(codes[starts[:, None] + np.arange(LENGTH + 1)])
        return rows[:, :-1], rows[:, :-1], rows[:, 1:]


class Reversal:
    """Words of letters drawn at random; the same word backwards is wanted."""

    vocabulary, length = LETTERS + 1, WORD

    def batch(self, rng, rows=BATCH):
        word = rng.integers(0, LETTERS, (rows, WORD)).astype(np.int32)
        wanted = word[:, ::-1]
        given = np.concatenate([np.full((rows, 1), LETTERS, np.int32), wanted[:, :-1]], axis=1)
        return tuple(map(tf.constant, (word, given, wanted)))

    def held_out(self):
        return self.batch(np.random.default_rng(10_000), HELD_OUT)


def train(network, data, seed, rate, steps, is_done):
    """Returns the loss of each step, and of the held-out sequences at each look."""
    network.start(seed, rate)
    rng, losses, looks, held_out = np.random.default_rng(seed), [], [], data.held_out()
    for t in range(steps):
        if WAYS[network.way]:
            network.optimizer.learning_rate = rate * min(1.0, (t + 1) / WARM_UP)
        losses.append(float(network.step(*data.batch(rng))))
        if (t + 1) % LOOK_EVERY == 0:
            looks.append(float(network.evaluate(*held_out)))
            if not looks[-1] < GIVEN_UP or is_done(looks[-1]):
                break
    return {"losses": [float(f"{x:.4g}") for x in losses], "looks": [float(f"{x:.4g}") for x in looks]}


def runs_of(part, work, report_only):
    """Trains what is missing of a part, seed by seed; returns way -> rate -> runs by seed."""
    encoder_depth, depth, steps, targets, ways, seeds = PARTS[part]
    data, networks, found = Reversal() if encoder_depth else Text(), {}, {way: {} for way in ways}
    for seed in range(seeds):
        for way in ways:
            for rate in [best_rate(found[way], targets)] if seed and found[way] else OF_PART.get(part, RATES[:2]):
                path = work / f"{part}, {way}, {rate}, {seed}.json".replace(" ", "_")
                if not path.exists() and report_only:
                    continue
                if not path.exists():
                    if way not in networks:  # Compiled once for all rates and seeds.
                        networks[way] = Network(way, encoder_depth, depth, data.vocabulary, data.length)
                    run = train(networks[way], data, seed, rate, steps, lambda look: targets and look <= targets[-1])
                    path.write_text(json.dumps(run), encoding="utf-8")
                    print(part, way, rate, seed, len(run["losses"]), run["looks"][-1], flush=True)
                found[way].setdefault(rate, []).append(json.loads(path.read_text(encoding="utf-8")))
    return {way: by_rate for way, by_rate in found.items() if by_rate}


def best_rate(by_rate, targets):
    """The rate whose first run is first at the lowest target that any run reaches, else ends lowest."""
    runs = {rate: runs[0] for rate, runs in by_rate.items()}
    for target in reversed(targets):
        steps = {rate: steps_to(target, run) for rate, run in runs.items()}
        if any(n is not None for n in steps.values()):
            return min(steps, key=lambda rate: (steps[rate] is None, steps[rate]))
    return min(runs, key=lambda rate: np.nan_to_num(runs[rate]["looks"][-1], nan=np.inf))


def steps_to(target, run):
    """Steps until a look is at the target, a straight line between looks; None where the run ended before."""
    looks = run["looks"]
    for i, look in enumerate(looks):
        if look <= target:
            share = (looks[i - 1] - target) / (looks[i - 1] - look) if i else 1.0
            return LOOK_EVERY * (i + share)
    return None


def finite(x):
    return x if np.isfinite(x) else None  # JSON knows no NaN.


def summary(part, found):
    targets, rows = PARTS[part][3], {}
    for way, by_rate in found.items():
        rate = best_rate(by_rate, targets)
        runs = by_rate[rate]
        last = [run["looks"][-1] for run in runs]
        row = {"rate": rate, "last_bits_by_seed": [finite(x) for x in last]}
        if max(last) < GIVEN_UP:
            row["last_bits"] = mean_with_interval(last)
        row["steps_run"] = [len(run["losses"]) for run in runs]
        row["of_first_seed_by_rate"] = {str(rate): finite(runs[0]["looks"][-1]) for rate, runs in by_rate.items()}
        for target in targets:
            row[f"steps_to_{target}"] = [steps_to(target, run) for run in runs]
        rows[way] = row
    for target in targets if "ReZero" in rows else ():
        own = rows["ReZero"][f"steps_to_{target}"]
        for row in rows.values():
            row[f"steps_to_{target}_over_rezero"] = ratio_with_interval(row[f"steps_to_{target}"], own)
    return rows


COLOURS = {
    "plain": "#999999",
    "residual": "#d08020",
    "post-norm": "#2060c0",
    "post-norm, warm-up": "#60b0f0",
    "pre-norm": "#208040",
    "ReZero": "#c02040",
    "ReZero from 1": "#804090",
}


def draw(everything, path):
    figure, axes = plt.subplots(1, len(everything), figsize=(4.2 * len(everything), 4), squeeze=False)
    for axis, (part, found) in zip(axes[0], everything.items(), strict=True):
        targets = PARTS[part][3]
        for way, by_rate in found.items():
            for i, run in enumerate(by_rate[best_rate(by_rate, targets)]):
                x = LOOK_EVERY * np.arange(1, len(run["looks"]) + 1)
                beyond = " (beyond the picture)" if not min(run["looks"]) < 8 else ""
                axis.plot(x, run["looks"], color=COLOURS[way], lw=1, label=None if i else way + beyond)
        for target in targets:
            axis.axhline(target, color="black", linewidth=0.6, linestyle=":")
        axis.set(xlabel="step", ylim=(0, 5) if part == "pair" else (2.8, 7))
        axis.set_title({"fast": "12 layers", "pair": "6 + 6 layers, reversal"}.get(part, f"{part[5:]} layers"))
        axis.legend(fontsize=7)
    axes[0, 0].set_ylabel("bits per character, held out")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-rezero"))
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--report-only", action="store_true", help="write the results of the runs that are finished")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    everything = {part: runs_of(part, arguments.work, arguments.report_only) for part in arguments.parts}
    arguments.out.mkdir(parents=True, exist_ok=True)
    everything = {part: found for part, found in everything.items() if found}
    table = {part: summary(part, found) for part, found in everything.items()}
    (arguments.out / "rezero_transformers.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    draw(everything, arguments.out / "rezero_transformers.png")


if __name__ == "__main__":
    main()
