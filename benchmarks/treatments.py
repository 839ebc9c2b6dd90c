"""Rules and clippings beside plain Adagrad: bytes of state, time of a step, AUC on KuaiRand and on the simulated feed.

    make bench-treatments      (python -m benchmarks.treatments --raw ../shared/data/kuairand-pure-slice)

memory: bytes of Adagrad's state for a table of 10^7 x 16, per weight and per row, by the sizes of the variables and by
what is resident. cost: a step of a dense model (3 x 1024, batch 512) and of a table of 10^6 rows, sides taking turns.
kuairand: configs/kuairand_columns.yaml; the mean AUC of 2022-05-02 to 05-05, on which a rate may be chosen, and of
2022-05-06, to report. feed: configs/quickstart.yaml, 8 days of 20,000 rows, the mean of the last four.

Each training is kept in --work as a file; rerun to resume. Writes benchmarks/results/treatments.json and .md.
Cost: about 25 minutes on 2 cores.
"""

import argparse
import ctypes
import gc
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.forgetting import KUAIRAND_DAYS, Run, train

RESULTS = Path(__file__).parent / "results"
ROW = {"optimizer.embeddings.accumulator": "row"}
SETTINGS = {
    "adagrad": {},
    "adagrad by row on tables": ROW,
    **{
        f"{rule} {rate:g} on dense": {"optimizer.dense.rule": rule, "optimizer.dense.learning_rate": rate}
        for rule, rates in {"adafactor": (0.01, 0.03, 0.1), "muon": (0.002, 0.006)}.items()
        for rate in rates
    },
}
SETTINGS["by row and adafactor 0.03"] = ROW | SETTINGS["adafactor 0.03 on dense"]
TASKS = {
    "kuairand": ("is_click", "long_view", "is_like", "is_profile_enter"),
    "feed": ("click", "like", "share", "follow"),
}
COLUMNS = {
    "kuairand": {"2022-05-02 to 05-05": KUAIRAND_DAYS[:-1], "2022-05-06": KUAIRAND_DAYS[-1:]},
    "feed": {"last four days": [f"2025-01-0{day}" for day in range(5, 9)]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of the official CSV files of KuaiRand")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-treatments"))
    parser.add_argument("--parts", nargs="+", default=["memory", "cost", *TASKS])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--resident", choices=("element", "row"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resident:
        print(json.dumps(resident(arguments.resident)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "treatments.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in arguments.parts:
        if part == "memory":
            found[part] = {by: measured(arguments, by) for by in ("element", "row")}
        elif part == "cost":
            found[part] = cost()
        else:
            runs = {name: trained(arguments, part, name) for name in arguments.settings}
            found[part] = found.get(part, {}) | {name: summary(part, own) for name, own in runs.items()}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (arguments.out / "treatments.md").write_text("\n".join(tables(found)) + "\n", encoding="utf-8")
    print("\n".join(tables(found)))


# --- Bytes of state.


def measured(arguments: argparse.Namespace, by: str) -> dict[str, float]:
    """Figures of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.treatments", "--raw", str(arguments.raw), "--resident", by]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def resident(by: str) -> dict[str, float]:
    """Bytes of Adagrad's state of a table of 10^7 x 16, by its shape and by what became resident with it."""
    import keras
    import tensorflow as tf

    from tfstable.optimizers import Adagrad

    def in_memory() -> float:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # Else what was freed counts.
        (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) / 1e3

    table = keras.Variable(initializer="ones", shape=(10**7, 16), dtype="float32", name="ids")
    table.is_embedding_table = True
    before, optimizer = in_memory(), Adagrad(0.1, accumulator=by)
    optimizer.build([table])
    optimizer.apply([tf.IndexedSlices(tf.ones([4096, 16]), tf.range(4096, dtype=tf.int64) * 2000)], [table])
    state = optimizer.accumulator(table)
    size = state.shape.num_elements() * state.dtype.size
    return {"state_mb": size / 1e6, "bytes_per_row": size / 10**7, "resident_mb": round(in_memory() - before, 1)}


# --- The time of a step.


def cost() -> dict[str, dict[str, object]]:
    """Steps relative to plain Adagrad's."""
    from benchmarks.optimizers.steps import dense_step, embedding_step, make_table, some_ids
    from benchmarks.optimizers.turns import measure, milliseconds, ratio
    from tfstable import optimizers as o

    rules = {
        "Adagrad": lambda: o.Adagrad(0.01),
        "Adam": lambda: o.Adam(1e-4),
        "Adafactor": lambda: o.Adafactor(1e-4),
        "Muon": lambda: o.Muon(1e-4),
    }
    clippings = {
        "GC": o.GradientNorm(0.1),
        "AGC": o.AdaptiveGradient(),
        "LAMB": o.TrustRatio(),
        "Clippy": o.Clippy(),
        "Clippy, clipped sums": o.Clippy(accumulate="clipped"),
        "AdaGC": o.AdaGC(),
        "ZClip": o.ZClip(),
        "AdaGN": o.AdaGN(),
    }
    sides = {name: dense_step(make(), 3, 1024, 512) for name, make in rules.items()}
    sides |= {name: dense_step(o.Adagrad(0.01, clipping=c), 3, 1024, 512) for name, c in clippings.items()}
    dense = measure(sides, turns=9, steps=2)
    ids = some_ids(10**6)
    of_tables = {
        "Adagrad": o.Adagrad(0.01),
        "Adagrad by row": o.Adagrad(0.01, accumulator="row"),
        "Clippy by row": o.Adagrad(0.01, clipping=o.Clippy(scope="row")),
        "Clippy by row, clipped sums": o.Adagrad(0.01, clipping=o.Clippy(scope="row", accumulate="clipped")),
        "ZClip": o.Adagrad(0.01, clipping=o.ZClip()),
    }
    groups = {n: o.Composite([o.Group("ids", t), o.Group("^(?!.*ids)", o.Adagrad(0.01))]) for n, t in of_tables.items()}
    sides = {name: embedding_step([make_table(10**6)], optimizer, ids) for name, optimizer in groups.items()}
    tables = measure(sides, turns=15, steps=5)
    return {
        kind: {
            "milliseconds": milliseconds(seconds),
            "ratios": {name: ratio(seconds, name, "Adagrad") for name in seconds if name != "Adagrad"},
        }
        for kind, seconds in (("dense", dense), ("table", tables))
    }


# --- AUC.


def trained(arguments: argparse.Namespace, part: str, name: str) -> list[Run]:
    """Returns the runs of a setting, one per seed: AUC by day and task."""
    recipe, last = ("kuairand_columns", len(KUAIRAND_DAYS)) if part == "kuairand" else ("quickstart", 4)
    runs = []
    for seed in range(arguments.seeds):
        path = arguments.work / f"{part}, {name}, seed {seed}.json"
        if not path.exists():
            keys = SETTINGS[name] | {"data.path": log(arguments, part), "trainer.seed": seed}
            days, seconds = train(recipe, keys, last)
            print(f"{path.stem}: {seconds:.0f} s", flush=True)
            path.with_suffix(".partial").write_text(json.dumps(days), encoding="utf-8")
            path.with_suffix(".partial").rename(path)
        runs.append(json.loads(path.read_text(encoding="utf-8")))
    return runs


def log(arguments: argparse.Namespace, part: str) -> Path:
    """Makes a log unless it is there."""
    from tfstable.sources.kuairand import prepare
    from tfstable.sources.simulate import simulate

    path = arguments.work / f"log-{part}"
    if not path.exists():
        partial = path.with_name(f"{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        if part == "kuairand":
            prepare(arguments.raw, partial)
        else:
            simulate(partial, days=8, rows_per_day=20_000, users=5_000, videos=2_000)
        partial.rename(path)
    return path


def summary(part: str, runs: list[Run]) -> dict[str, dict[str, list[float]]]:
    """Returns AUC by task and column of the table, one per seed."""
    return {
        task: {
            column: [round(statistics.mean(run[day][task] for day in days), 5) for run in runs]
            for column, days in COLUMNS[part].items()
        }
        for task in TASKS[part]
    }


# --- Tables.


def tables(found: dict[str, dict]) -> list[str]:
    """Returns the tables in Markdown."""
    lines: list[str] = []
    if sizes := found.get("memory"):
        lines += [
            "| Adagrad's state, table of 10^7 x 16 | MB | bytes per row | resident MB more |",
            "|---|---|---|---|",
        ]
        for by, m in sizes.items():
            lines.append(f"| per {by} | {m['state_mb']:.0f} | {m['bytes_per_row']:.0f} | {m['resident_mb']:.0f} |")
        lines.append("")
    for kind, times in found.get("cost", {}).items():
        lines += [f"| step, {kind} | v plain Adagrad | quartiles | fastest turns |", "|---|---|---|---|"]
        for name, r in times["ratios"].items():
            low, high = r["quartiles"]
            lines.append(f"| {name} | {r['ratio']:.2f} | {low:.2f} to {high:.2f} | {r['fastest']:.2f} |")
        lines.append("")
    for part in TASKS:
        if part not in found:
            continue
        heads = [f"{task}, {column}" for column, task in itertools.product(COLUMNS[part], TASKS[part])]
        lines += [f"| {part}: AUC | seeds | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
        for name, by_task in found[part].items():
            cells = [by_task[task][column] for column, task in itertools.product(COLUMNS[part], TASKS[part])]
            lines.append(f"| {name} | {len(cells[0])} | {' | '.join(map(cell, cells))} |")
        lines.append("")
    return lines[:-1]


def cell(aucs: list[float]) -> str:
    """Mean over the seeds and, in brackets, their standard deviation."""
    return f"{statistics.mean(aucs):.4f}" + (f" ({statistics.stdev(aucs):.4f})" if len(aucs) > 1 else "")


if __name__ == "__main__":
    main()
