"""`tfstable history`."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tfstable.errors import InputError
from trainers.cli.options import Data
from trainers.cli.screen import console, progress_bar


class Engine(StrEnum):
    """Where the statements run."""

    duckdb = "duckdb"
    spark = "spark"


def history(
    data: Data,
    out: Annotated[Path, typer.Option(help="Directory of the log to write; days already in it are kept.")],
    by: Annotated[str, typer.Option(help="Column of the key whose past is wanted: the user.")],
    of: Annotated[str, typer.Option(help="Columns whose values at past events are wanted: video_id,author_id.")],
    where: Annotated[
        str | None, typer.Option(help="Column that is neither null nor 0 where a row is an event. Default: all rows.")
    ] = None,
    last: Annotated[int, typer.Option(help="Number of events to keep per row: the last ones.")] = 50,
    delay: Annotated[
        str, typer.Option(metavar="DAYSd", help="Leave out the days just before a row's own: 2d; events may come late.")
    ] = "0d",
    time: Annotated[
        str | None,
        typer.Option(help="Column of times, a number. It orders the events, and the gap is in its units, not in days."),
    ] = None,
    within_day: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Also take earlier events of a row's own day, by this column of times."),
    ] = None,
    prefix: Annotated[str, typer.Option(help="What the names of the new columns start with.")] = "seen_",
    engine: Annotated[Engine, typer.Option(help="Where to run the statements.")] = Engine.duckdb,
    memory_gb: Annotated[float, typer.Option(min=0.25, help="Limit of DuckDB's memory.")] = 1.0,
) -> None:
    """Write a log with what each user did before each row, as list columns, from the log itself.

    Rerun the same command to resume, and to add new days. By default a row sees earlier days alone.
    """
    from tfstable.sources.history import History, write_histories

    if (days := re.fullmatch(r"(\d{1,6})d", delay)) is None:
        raise InputError(f"--delay {delay}: write a number of days, such as 2d")
    if time and within_day and time != within_day:
        raise InputError(f"--time {time} is not --within-day {within_day}; name one column of times")
    wanted = History(
        by=by,
        of=tuple(column for column in of.split(",") if column),
        where=where,
        last=last,
        time=within_day or time,
        within_day=within_day is not None,
        delay_days=int(days[1]),
        prefix=prefix,
    )
    with progress_bar() as progress:
        written = write_histories(data, out, wanted, engine=engine.value, memory_gb=memory_gb, progress=progress)
    console.print(
        f"{out}: {len(written)} new days with {', '.join(wanted.names)}"
        + (f", {written[0]} to {written[-1]}" if written else ""),
        soft_wrap=True,
    )
