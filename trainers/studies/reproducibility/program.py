"""`tfstable reproducibility`, top to bottom."""

import time
from pathlib import Path

from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.files import plain, write, write_json
from tfstable.locks import locked
from trainers.store.out_directory import BUSY, check_out
from trainers.studies.reproducibility.bench import Bench
from trainers.studies.reproducibility.config import ReproducibilityConfig
from trainers.studies.reproducibility.grid import Grid
from trainers.studies.reproducibility.pictures import PICTURES, draw
from trainers.studies.reproducibility.report import markdown


def reproducibility(config: ReproducibilityConfig, log: DayLog, out: Path, console: Console) -> None:
    """Trains the runs that are not in `out` yet, and writes table and pictures from all of them.

    Args:
        config: The config.
        log: The log.
        out: Directory of runs/, reproducibility.json, reproducibility.md and the pictures.
        console: Where to print.
    """
    began = time.monotonic()
    check_out(out, "reproducibility", ("reproducibility.md", *PICTURES))
    bench = Bench(config, log)
    for remark in bench.remarks:
        console.print(remark, soft_wrap=True, markup=False)
    grid = Grid(config, bench, out, lambda line: console.print(line, soft_wrap=True))
    with locked(out, BUSY):
        table = grid.run()
        write_json(out / "reproducibility.json", plain(table))
        write(out / "reproducibility.md", markdown(table))
        draw(table, out)
    page = out / "reproducibility.md"
    console.print(f"{page}: {table['runs']} trainings, {time.monotonic() - began:.0f} s now", soft_wrap=True)
