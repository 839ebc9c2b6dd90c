"""`tfstable stability`, top to bottom."""

import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.files import plain, write, write_json
from tfstable.locks import locked
from trainers.store.out_directory import BUSY, check_out
from trainers.studies.stability.bench import Bench
from trainers.studies.stability.config import StabilityConfig
from trainers.studies.stability.cost import add_costs
from trainers.studies.stability.grid import Grid
from trainers.studies.stability.pictures import PICTURES, draw
from trainers.studies.stability.records import Records
from trainers.studies.stability.report import markdown


def stability(config: StabilityConfig, log: DayLog, out: Path, console: Console) -> None:
    """Trains the grid's runs that are not in `out` yet, and writes table and pictures from all of them.

    Args:
        config: The grid's config.
        log: The log.
        out: Directory of runs/, stability.json, stability.md and the pictures.
        console: Where to print.
    """
    began = time.monotonic()
    check_out(out, "stability", ("stability.md", *PICTURES))
    bench = Bench(config, log)
    for remark in bench.remarks:
        console.print(remark, soft_wrap=True, markup=False)
    grid = Grid(config, bench, Records(out, config, log), lambda line: console.print(line, soft_wrap=True))
    with locked(out, BUSY):
        table = grid.run()
        if config.stability.cost:
            add_costs(bench, table, out)
        write_json(out / "stability.json", plain(asdict(table)))
        write(out / "stability.md", markdown(table))
        draw(grid, table, out)
    console.print(f"{out / 'stability.md'}: {table.runs} runs, {time.monotonic() - began:.0f} s now", soft_wrap=True)
