"""`tfstable doctor` on healthy runs, and on one with planted faults: an example of its page.

    make bench-doctor         (python -m benchmarks.doctor --raw RAW)

Cost: three minutes on 2 cores. Trains the quickstart and, with --raw, the KuaiRand recipe as they are: the doctor must
not cry wolf. Then it spoils the last five of ten days of the quickstart's log, trains the recipe on it
with a task of weight 0, and writes the page. Writes benchmarks/results/doctor.json, the findings of each run, and
doctor.md, the page; logs and runs are kept in --work, and a re-run resumes.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.files import plain, to_json, whole, write
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers.studies.doctor import Examination, examine, findings
from trainers.studies.doctor.page import page
from trainers.studies.doctor.report import markdown

RESULTS = Path(__file__).parent / "results"
DAYS, ROWS, HEALTHY_DAYS = 10, 60_000, 5
SPOIL: dict[str, Callable[[pa.ChunkedArray, np.random.Generator], list]] = {
    "duration_s": lambda x, rng: [1000 * value for value in x.to_pylist()],  # Milliseconds.
    "user_device": lambda x, rng: ["unknown"] * len(x),
    "category": lambda x, rng: [value.upper() for value in x.to_pylist()],
    "tags": lambda x, rng: [value if rng.random() < 0.4 else None for value in x.to_pylist()],
    "like": lambda x, rng: [0] * len(x),  # A join that finds nothing.
}
PLANTED = ("features.session_id={kind: hash, buckets: 20000}", "tasks.share.weight=0")


def spoiled(healthy: Path, log: Path) -> None:
    """Writes a copy of a log in which the last days have faults, and a column of ids that never come back."""
    rng = np.random.default_rng(0)
    for number, folder in enumerate(sorted(healthy.glob("date=*"))):
        table = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])
        for column, spoil in SPOIL.items() if number >= HEALTHY_DAYS else ():
            field = table.schema.field(column)
            place = table.column_names.index(column)
            table = table.set_column(place, field, pa.array(spoil(table[column], rng), field.type))
        table = table.append_column("session_id", pa.array(number * 10**9 + np.arange(len(table))))
        (log / folder.name).mkdir(parents=True)
        pq.write_table(table, log / folder.name / "part-0.parquet")


def trained(recipe: str, log: Path, run: Path, *more: str) -> Examination:
    """Trains a recipe and examines the run."""
    keys = (f"data.path={log}", "export.when=never", "trainer.tensorboard=false", *more)
    sets = [word for key in keys for word in ("--set", key)]
    command = [sys.executable, "-m", "trainers", "train", "--recipe", recipe, "--model-dir", str(run), *sets]
    subprocess.run(command, check=True)
    return examine(Run.of(run))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, help="Raw files of KuaiRand.")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-doctor"))
    work = (options := parser.parse_args()).work
    healthy, planted, kuairand = work / "log", work / "planted-log", work / "kuairand-log"
    if not healthy.exists():
        with whole(healthy) as hidden:
            simulate(hidden, days=DAYS, rows_per_day=ROWS)
    if not planted.exists():
        with whole(planted) as hidden:
            spoiled(healthy, hidden)
    found = {"quickstart": trained("quickstart", healthy, work / "quickstart")}
    if options.raw is not None:
        prepare = ["prepare", "kuairand", "--raw", str(options.raw), "--out", str(kuairand), "--history"]
        subprocess.run([sys.executable, "-m", "trainers", *prepare], check=True)
        found["kuairand"] = trained("kuairand", kuairand, work / "kuairand")
    found["planted"] = trained("quickstart", planted, work / "planted", *PLANTED)
    figures = {name: [plain(vars(finding)) for finding in findings(e)] for name, e in found.items()}
    write(RESULTS / "doctor.json", to_json(figures))
    write(RESULTS / "doctor.md", markdown(page(found["planted"])))
    print(to_json(figures))


if __name__ == "__main__":
    main()
