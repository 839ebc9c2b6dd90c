"""`tfstable simulate`."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from tfstable.errors import InputError
from trainers.cli.screen import console, progress_bar


def simulate(
    out: Annotated[Path, typer.Option(help="Directory of the log to write.")],
    days: Annotated[int, typer.Option(help="Number of days.")] = 14,
    rows_per_day: Annotated[int, typer.Option(help="Rows per day.")] = 50_000,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
    shock_days: Annotated[
        str, typer.Option(help="Days on which the feed changes abruptly for that day, counted from 0: 5,9.")
    ] = "",
    taste_change_days: Annotated[
        str, typer.Option(help="Days on which tastes change for good, counted from 0: 40.")
    ] = "",
    memory: Annotated[
        bool, typer.Option("--memory", help="What users clicked on earlier days moves what they click next.")
    ] = False,
) -> None:
    """Write the log of a simulated short-video feed, with the true probability of each label."""
    from tfstable.sources.simulate import simulate
    from trainers.training.check import simulate_whole

    shocks, changes = _days("--shock-days", shock_days), _days("--taste-change-days", taste_change_days)
    write = simulate if out.exists() else simulate_whole
    with progress_bar() as progress:
        write(
            out,
            days=days,
            rows_per_day=rows_per_day,
            seed=seed,
            shock_days=shocks,
            taste_change_days=changes,
            memory=memory,
            progress=progress,
        )
    console.print(f"{out}: {days} days of {rows_per_day:,} rows")
    if memory:
        _print_best(out)


def _days(option: str, given: str) -> list[int]:
    try:
        return [int(number) for number in given.split(",") if number]
    except ValueError:
        raise InputError(f"{option} {given}: write numbers of days, separated by commas: 5,9") from None


def _print_best(out: Path) -> None:
    """The exact AUC of the last day's clicks against their true probabilities."""
    from tfstable.data.log import DayLog, read
    from tfstable.metrics import auc
    from tfstable.sources.simulate import TRUE_PROBABILITY, WITHOUT_HISTORY

    log = DayLog(out)
    day = log.days[-1]
    columns = ("click", TRUE_PROBABILITY["click"], WITHOUT_HISTORY)
    rows = pa.Table.from_batches(read(log.units(day), dict.fromkeys(columns)))
    click, best, without = (rows[name].to_numpy() for name in columns)
    console.print(
        f"best attainable AUC of click on {day}: {auc(click, best):.4f} with the user's history, "
        f"{auc(click, without):.4f} without"
    )
