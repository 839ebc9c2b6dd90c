"""What `tfstable reproducibility` does, top to bottom."""

import time
from pathlib import Path

from rich.console import Console

from tfstable.data.log import DayLog
from trainers.reproducibility.bench import Bench
from trainers.reproducibility.config import ReproducibilityConfig
from trainers.reproducibility.grid import Grid
from trainers.reproducibility.pictures import draw
from trainers.reproducibility.report import markdown
from trainers.run_directory import to_json, write


def reproducibility(config: ReproducibilityConfig, log: DayLog, out: Path, console: Console):
    """Trains what is not in `out` yet, and writes table and pictures from all of it.

    Args:
        config: The config.
        log: The log.
        out: Directory of runs/, reproducibility.json, reproducibility.md and the pictures.
        console: Where to print.
    """
    began = time.monotonic()
    bench = Bench(config, log)
    for remark in bench.statistics.remarks:
        console.print(remark, soft_wrap=True, markup=False)
    grid = Grid(config, bench, out, lambda line: console.print(line, soft_wrap=True))
    table = grid.run()
    write(out / "reproducibility.json", to_json(table))
    write(out / "reproducibility.md", markdown(table))
    draw(table, out)
    page = out / "reproducibility.md"
    console.print(f"{page}: {table['runs']} trainings, {time.monotonic() - began:.0f} s now", soft_wrap=True)
