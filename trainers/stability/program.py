"""What `tfstable stability` does, top to bottom."""

import time
from pathlib import Path

from rich.console import Console

from tfstable.data.log import DayLog
from trainers.run_directory import to_json, write
from trainers.stability.bench import Bench
from trainers.stability.config import StabilityConfig
from trainers.stability.grid import Grid
from trainers.stability.pictures import draw
from trainers.stability.records import Records
from trainers.stability.report import markdown


def stability(config: StabilityConfig, log: DayLog, out: Path, console: Console):
    """Trains the grid's runs that are not in `out` yet, and writes table and pictures from all of them.

    Args:
        config: The grid's config.
        log: The log.
        out: Directory of runs/, stability.json, stability.md and the pictures.
        console: Where to print.
    """
    began = time.monotonic()
    bench = Bench(config, log)
    for remark in bench.statistics.remarks:
        console.print(remark, soft_wrap=True, markup=False)
    grid = Grid(config, bench, Records(out, config, log), lambda line: console.print(line, soft_wrap=True))
    table = grid.run()
    write(out / "stability.json", to_json(table))
    write(out / "stability.md", markdown(table))
    draw(grid, table, out)
    console.print(f"{out / 'stability.md'}: {table['runs']} runs, {time.monotonic() - began:.0f} s now", soft_wrap=True)
