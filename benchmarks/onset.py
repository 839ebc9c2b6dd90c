"""Divergence in mid-training: healthy for over a thousand steps, then a day on which the traffic changes.

    make bench-onset      (python -m benchmarks.onset)

1. `tfstable stability` with configs/stability_onset.yaml: who survives, and what norms, factors and sharpness do before
   the onset (benchmarks/results/stability/onset).
2. `tfstable train` on the untreated model, with the detector and recovery of the defaults: does detection catch the
   divergence, and does recovery save the run? (recovery.json and recovery.md there.)

Rerun to resume: runs are kept in --work. docs/stability.md explains the results.
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

from benchmarks.stability import RESULTS, tfstable
from trainers.config import load
from trainers.studies.stability.config import StabilityConfig

CONFIG, MODEL, UNTREATED = "configs/stability_onset.yaml", "large_dcn", "none"
OUT = RESULTS / "onset"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-onset"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    work, overrides = arguments.work, [f"data.path={arguments.work / 'log'}", *arguments.overrides]
    options = [part for override in overrides for part in ("--set", override)]
    tfstable("stability", "--config", CONFIG, "--out", work / "grid", *options)
    OUT.mkdir(parents=True, exist_ok=True)
    for path in (*(work / "grid").glob("stability.*"), *(work / "grid").glob("*.png")):
        shutil.copy(path, OUT)

    config = load(Path(CONFIG), overrides, StabilityConfig)
    table = json.loads((work / "grid" / "stability.json").read_text())
    runs = [
        with_recovery(config, table["rate"] * multiple, multiple, seed, work)
        for multiple in config.stability.reported
        for seed in range(config.stability.seeds)
    ]
    beside = [run | without(table, run) for run in runs]
    (OUT / "recovery.json").write_text(json.dumps(beside, indent=1) + "\n")
    (OUT / "recovery.md").write_text(page(beside))


def with_recovery(config: StabilityConfig, rate: float, multiple: float, seed: int, work: Path) -> dict[str, Any]:
    """Trains a run of the grid as `tfstable train`, with detection and recovery; returns what came of it."""
    treatment = config.stability.treatments[UNTREATED][0]
    own = config.run_config(MODEL, treatment, rate, seed).model_copy(update={"divergence": config.stability.detector})
    keys = own.model_dump(mode="json", by_alias=True, exclude={"stability"})
    model_dir, path = work / f"train-{multiple:g}-{seed}", work / f"train-{multiple:g}-{seed}.yaml"
    path.write_text(json.dumps(keys))  # JSON is YAML.
    metrics = model_dir / "metrics.json"
    if not metrics.exists():
        tfstable("train", "--config", path, "--model-dir", model_dir)
    events = [json.loads(line) for line in (model_dir / "events.jsonl").read_text().splitlines()]
    last = sorted((model_dir / "windows").iterdir())[-2]  # The last window whose next day is there.
    tasks = json.loads((last / "metrics.json").read_text())["tasks"]
    return {
        "multiple": multiple,
        "seed": seed,
        "events": {kind: sum(e["event"] == kind for e in events) for kind in sorted({e["event"] for e in events})},
        "auc": {task: values["auc"] for task, values in tasks.items() if "auc" in values},
    }


def without(table: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Returns what the grid found for the same run without recovery, and for the best treated run."""
    found = {}
    for row in table["rows"]:
        if row["model"] == MODEL and row["best"]:
            cell = next(cell for cell in row["cells"] if cell["multiple"] == run["multiple"])
            result = next(result for result in cell["results"] if result["seed"] == run["seed"])
            found[row["treatment"]] = {"diverged": result["reasons"], "score": result["score"]}
    return {"grid": found}


def page(runs: list[dict[str, Any]]) -> str:
    """Returns the runs as a table."""
    lines = [
        "Untreated runs of the grid beside the same runs with detection and recovery (`make bench-onset`). AUC of "
        "click on the last day.",
        "",
        "| rate | seed | diverged without recovery | events with recovery | AUC with recovery |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        reasons = "; ".join(run["grid"][UNTREATED]["diverged"]) or "no"
        events = ", ".join(f"{kind} {count}" for kind, count in run["events"].items()) or "none"
        auc = next(iter(run["auc"].values()))
        lines.append(f"| {run['multiple']:g}x | {run['seed']} | {reasons} | {events} | {auc:.4f} |")
    clicks = [next(iter(run["auc"].values())) for run in runs]
    lines += ["", f"Median AUC with recovery: {statistics.median(clicks):.4f}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
