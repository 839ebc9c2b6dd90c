"""Features without effect rank below all that have one: permutation importance on a feed with columns of pure noise.

    make bench-explain      (python -m benchmarks.explain)

A simulated log of 10 days with 40,000 rows, 1,500 users and 600 videos a day, to which three columns are added that say
nothing: a number, a word of 8, an id of 2,000. A model of click, like and watch time trains a day at a time; `tfstable
explain` then permutes each feature on the last day, 40,000 rows that the model of that time had not been trained on.
Every feature of the simulator moves the probability of a click, directly or by what it tells of users, videos and
authors. The same for two seeds of the training.

The runs are kept in --work; rerun to resume. Writes benchmarks/results/explain.json, .md and .png. Cost: about five
minutes of one core.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NOISE = ("noise_number", "noise_word", "noise_id")
SEEDS, PATHS = range(2), (("mean", 64), ("mean", 16), ("zeros", 64), ("zeros", 256))
CONFIG = """
data: {path: LOG, weight: weight}
features:
  user_id: {kind: hash, buckets: 20000, dim: 8}
  video_id: {kind: hash, buckets: 10000, dim: 8}
  author_id: {kind: hash, buckets: 10000, dim: 8}
  category: {kind: vocabulary, dim: 8}
  tags: {kind: hash, buckets: 1000, dim: 8, max_values: 4}
  user_country: {kind: vocabulary, dim: 8}
  hour: {kind: vocabulary, dim: 8}
  duration_s: {kind: numeric, log1p: true}
  video_age_days: {kind: numeric}
  user_followed: {kind: numeric, log1p: true}
  noise_number: {kind: numeric}
  noise_word: {kind: vocabulary, dim: 8}
  noise_id: {kind: hash, buckets: 20000, dim: 8}
tasks:
  click: {kind: binary}
  like: {kind: binary, weight: 5}
  watch_time: {kind: regression, label: watch_time_s, transform: log1p}
model: {units: [64, 64], activation: smelu, hidden_normalisation: true}
optimizer: {dense: {learning_rate: 0.05, clipping: {kind: clippy}}, embeddings: {learning_rate: 0.1}}
trainer: {batch_size: 512, tensorboard: false, keep_checkpoints: 2}
export: {when: never}
"""
RESULTS = Path(__file__).parent / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-explain"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    work, found = arguments.work, {}
    work.mkdir(parents=True, exist_ok=True)
    log = work / "log"
    if not log.exists():
        shutil.rmtree(work / "log.partial", ignore_errors=True)
        write_log(work / "log.partial")
        (work / "log.partial").rename(log)
    (work / "config.yaml").write_text(CONFIG.replace("LOG", str(log)), encoding="utf-8")
    for seed in SEEDS:
        if not (work / f"explained_{seed}" / "explain.json").exists():
            explained(work, seed)
        found[seed] = json.loads((work / f"explained_{seed}" / "explain.json").read_text(encoding="utf-8"))
    kept = work / "completeness.json"
    if not kept.exists():
        missed = {f"{of[0]}, {of[1]} midpoints": completeness(work, *of) for of in PATHS}
        kept.write_text(json.dumps(missed), encoding="utf-8")
    missed = json.loads(kept.read_text(encoding="utf-8"))
    figures = {str(seed): {key: of[key] for key in ("importance", "size")} for seed, of in found.items()}
    text = json.dumps({**figures, "completeness": missed}, indent=1) + "\n"
    (arguments.out / "explain.json").write_text(text, encoding="utf-8")
    shutil.copyfile(work / "explained_0" / "explain.png", arguments.out / "explain.png")
    text = "\n".join([*table(found), "", *paths(missed)]) + "\n"
    (arguments.out / "explain.md").write_text(text, encoding="utf-8")
    print(text)


def write_log(path: Path):
    """Simulates a feed and adds columns of noise."""
    from tfstable.sources.simulate import simulate

    simulate(path, days=10, rows_per_day=40_000, users=1_500, videos=600)
    rng = np.random.default_rng(1)
    for file in sorted(path.glob("date=*/*.parquet")):
        rows = pq.read_table(file)
        n = rows.num_rows
        noise = (rng.normal(size=n), [f"word{i}" for i in rng.integers(0, 8, n)], rng.integers(0, 2_000, n))
        for name, values in zip(NOISE, noise, strict=True):
            rows = rows.append_column(name, pa.array(values))
        pq.write_table(rows, file)


def explained(work: Path, seed: int):
    """Trains a run, or resumes it, and explains its last day."""
    from trainers import Run, load_config
    from trainers.studies.explain.explain import explain
    from trainers.studies.explain.report import write_report

    run = Run.open(load_config(work / "config.yaml", [f"trainer.seed={seed}"]), work / f"run_{seed}")
    run.train()
    found = explain(run, run.log.days[-1], rows=40_000, repeats=3)
    (work / f"explained_{seed}").mkdir(exist_ok=True)
    write_report(found, work / f"explained_{seed}")


def completeness(work: Path, baseline: str, points: int) -> dict[str, float]:
    """What the shares of 1,000 rows miss, by task."""
    from trainers import Run
    from trainers.studies.explain.explain import explain

    run = Run.of(work / "run_0")
    return dict(explain(run, run.log.days[-1], rows=1_000, repeats=1, baseline=baseline, points=points).completeness)


def paths(missed: dict) -> list[str]:
    """Lines of a table in Markdown: completeness by beginning and points of the paths."""
    tasks = list(next(iter(missed.values())))
    rows = [f"| {name} | {' | '.join(f'{of[task]:.1e}' for task in tasks)} |" for name, of in missed.items()]
    head = f"| paths from | {' | '.join(tasks)} |"
    return ["What the shares miss of the logits' change (completeness):", "", head, "|---|---:|---:|---:|", *rows]


def table(found: dict) -> list[str]:
    """Lines of a table in Markdown: features by the AUC of a click that is lost without them, the mean over seeds."""

    def mean(of, *keys: str) -> float:
        for key in keys:
            of = [each[key] for each in of]
        return float(np.mean(of))

    importance, size = ([each[key] for each in found.values()] for key in ("importance", "size"))
    features = sorted(importance[0], key=lambda name: -mean(importance, name, "click", "loss"))
    head = "| feature | AUC of click lost, by seed | AUC of like lost | RMSE of watch time gained | mean share |"
    lines = [head, "|---|---|---:|---:|---:|"]
    for name in features:
        lost = "; ".join(
            f"{each[name]['click']['loss']:+.5f} ({each[name]['click']['interval'][0]:+.5f} to "
            f"{each[name]['click']['interval'][1]:+.5f})"
            for each in importance
        )
        others = [f"{mean(importance, name, task, 'loss'):+.5f}" for task in ("like", "watch_time")]
        shown = f"**{name}**" if name in NOISE else name
        lines.append(f"| {shown} | {lost} | {' | '.join(others)} | {mean(size, 'click', name):.4f} |")
    below = [
        max(each[name]["click"]["loss"] for name in NOISE)
        < min(each[name]["click"]["loss"] for name in each if name not in NOISE)
        for each in importance
    ]
    lines += [
        "",
        f"Noise ranks below every feature of the simulator, for click: {sum(below)} of {len(below)} trainings.",
    ]
    return lines


if __name__ == "__main__":
    main()
