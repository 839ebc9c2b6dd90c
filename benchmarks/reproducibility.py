"""How far apart two trainings end, and which remedies help, on the KuaiRand slice and on a simulated feed.

    make bench-reproducibility     (python -m benchmarks.reproducibility --raw ../shared/data/kuairand-pure-slice)

Runs `tfstable reproducibility` once for each part below, and keeps tables and pictures in benchmarks/results/
reproducibility/. Trainings are kept in --work; rerun to resume. docs/reproducibility.md explains the results.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

RESULTS = Path(__file__).parent / "results" / "reproducibility"
GRID, FEED = "configs/reproducibility.yaml", "configs/quickstart.yaml"
RECIPE, REPRODUCIBLE = "configs/kuairand_columns.yaml", "configs/kuairand_reproducible.yaml"
SMOOTH = {f"smelu {beta:g}": {"model.activation": "smelu", "model.beta": beta} for beta in (0.25, 0.5, 1.0, 2.0)}
SMOOTH |= {name: {"model.activation": name} for name in ("gelu", "relu", "softplus", "swish")}
FEW = {name: [{"model.activation": name}] for name in ("relu", "smelu", "swish")}
NORMALISATION = {name: {"model.hidden_normalisation": name == "normalised"} for name in ("plain", "normalised")}


def sections_that_differ(one: str, other: str) -> dict:
    """The sections of the second config that the first does not have so."""
    first, second = (yaml.safe_load(Path(path).read_text(encoding="utf-8")) for path in (one, other))
    return {name: section for name, section in second.items() if first.get(name) != section}


# By name: the log, the config, and keys set in it.
PARTS = {
    # Each activation, with and without layer normalisation: full shuffles, other initial weights.
    "activations": ("kuairand", GRID, {}),
    # Gentler shuffles and an average of the weights.
    "shuffles": (
        "kuairand",
        GRID,
        {
            "reproducibility.differ": {
                "full shuffles": {"kind": "order"},
                "blocks of 4096 rows": {"kind": "order", "keys": {"trainer.shuffle": {"kind": "blocks", "rows": 4096}}},
                "swaps of neighbouring batches": {"kind": "order", "keys": {"trainer.shuffle": {"kind": "swaps"}}},
            },
            "reproducibility.settings": {
                "plain": NORMALISATION["plain"],
                "averaged": {"optimizer.averaging": {"kind": "ema", "horizon_steps": 9}, **NORMALISATION["plain"]},
            },
            "reproducibility.curves": {
                "relu": [{"model.activation": "relu"}],
                "smelu 0.5": [{"model.activation": "smelu", "model.beta": 0.5}],
            },
        },
    ),
    # The same batches summed whole and in halves, 1000 steps over one window of 11 days.
    "replicas": (
        "kuairand",
        GRID,
        {
            "trainer.window_days": 11,
            "trainer.steps": 1000,
            "trainer.batch_size": 512,
            "model.units": [128, 128],
            "model.cross_depth": 1,
            "reproducibility.days": 1,
            "reproducibility.trace_every": 50,
            "reproducibility.differ": {"halves": {"kind": "replicas"}},
            "reproducibility.settings": {p: {"trainer.precision": p} for p in ("float32", "float64")},
            "reproducibility.curves": FEW,
        },
    ),
    # The recipe of the repository beside the one for reproducibility, the remedies alone, and ensembles.
    "recipe": (
        "kuairand",
        RECIPE,
        {
            "reproducibility.runs": 8,
            "reproducibility.ensembles": [2, 4],
            "reproducibility.tasks": ["is_click", "long_view", "is_like", "is_profile_enter"],
            "reproducibility.curves": {"as it is": [{}], "reproducible": [sections_that_differ(RECIPE, REPRODUCIBLE)]},
        },
    ),
    "remedies": (
        "kuairand",
        RECIPE,
        {
            "reproducibility.runs": 3,
            "reproducibility.tasks": ["is_click", "long_view"],
            "reproducibility.curves": {
                "as it is": [{}],
                "ReLU": [{"model.activation": "relu"}],
                "EMA": [
                    {"optimizer.averaging.kind": "ema", "optimizer.averaging.horizon_steps": steps} for steps in (9, 18)
                ],
                "SWA of 3 windows": [{"optimizer.averaging": {"kind": "swa", "horizon_windows": 3}}],
                "dense rate decays in a window": [
                    {"optimizer.dense.schedule.window_end": 0.05, "optimizer.dense.learning_rate": rate}
                    for rate in (0.05, 0.1)
                ],
                "committee of 4 x [128, 128]": [
                    {
                        "model.class": "tfstable.models.Committee",
                        "model.options": {"members": 4},
                        "model.units": [128, 128],
                        "model.tower_units": [32],
                    }
                ],
            },
        },
    ),
    # A simulated feed.
    "feed": (
        "feed",
        FEED,
        {
            "data.simulate": {"days": 8, "rows_per_day": 16384, "seed": 1},
            "trainer.window_days": 1,
            "trainer.batch_size": 2048,
            "model.units": [128, 128, 128],
            "optimizer.dense.learning_rate": 0.05,
            "optimizer.embeddings.learning_rate": 0.05,
            "optimizer.embeddings.initial_accumulator": 1e-5,
            "evaluation.gauc_column": "user_id",
            "reproducibility.runs": 3,
            "reproducibility.days": 4,
            "reproducibility.tasks": ["click", "like"],
            "reproducibility.differ": {"full shuffles": {"kind": "order"}, "initial weights": {"kind": "weights"}},
            "reproducibility.settings": NORMALISATION,
            "reproducibility.curves": FEW,
        },
    ),
    # Prediction difference against loss, a curve per activation: what is varied along it is the dense rate.
    "curves": (
        "feed",
        FEED,
        {
            "data.simulate": {"days": 8, "rows_per_day": 16384, "seed": 1},
            "trainer.window_days": 1,
            "trainer.batch_size": 2048,
            "model.units": [128, 128, 128],
            "optimizer.embeddings.learning_rate": 0.05,
            "optimizer.embeddings.initial_accumulator": 1e-5,
            "evaluation.gauc_column": "user_id",
            "reproducibility.runs": 3,
            "reproducibility.days": 4,
            "reproducibility.tasks": ["click"],
            "reproducibility.differ": {"seeds": {"kind": "seed"}},
            "reproducibility.curves": {
                name: [{**keys, "optimizer.dense.learning_rate": rate} for rate in (0.0125, 0.025, 0.05, 0.1)]
                for name, keys in SMOOTH.items()
            },
        },
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", required=True, help="directory of the official CSV files")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-reproducibility"))
    parser.add_argument("--only", choices=list(PARTS), help="one part")
    arguments = parser.parse_args()

    logs = {name: arguments.work / "logs" / name for name in ("kuairand", "feed")}
    parts = [arguments.only] if arguments.only else list(PARTS)
    if any(PARTS[part][0] == "kuairand" for part in parts):
        tfstable("prepare", "kuairand", "--raw", arguments.raw, "--out", logs["kuairand"])
    for part in parts:
        log, config, keys = PARTS[part]
        out = arguments.work / log  # Parts share their trainings.
        settings = [f"data.path={logs[log]}", *(f"{key}={json.dumps(value)}" for key, value in keys.items())]
        options = [piece for setting in settings for piece in ("--set", setting)]
        for picture in out.glob("*.png"):  # Of the part before: not every part draws all.
            picture.unlink()
        tfstable("reproducibility", "--config", config, "--out", out, *options)
        (RESULTS / part).mkdir(parents=True, exist_ok=True)
        for path in (*out.glob("reproducibility.*"), *out.glob("*.png")):
            shutil.copy(path, RESULTS / part)


def tfstable(*arguments):
    """Runs the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "trainers", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
