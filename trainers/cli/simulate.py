"""`tfstable simulate`."""

from pathlib import Path
from typing import Annotated

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
) -> None:
    """Write the log of a simulated short-video feed, with the true probability of each label."""
    from tfstable.sources.simulate import simulate
    from trainers.training.check import simulate_whole

    try:
        shocks = [int(number) for number in shock_days.split(",") if number]
    except ValueError:
        raise InputError(f"--shock-days {shock_days}: write numbers of days, separated by commas: 5,9") from None
    write = simulate if out.exists() else simulate_whole
    with progress_bar() as progress:
        write(out, days=days, rows_per_day=rows_per_day, seed=seed, shock_days=shocks, progress=progress)
    console.print(f"{out}: {days} days of {rows_per_day:,} rows")
