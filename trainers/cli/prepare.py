"""`tfstable prepare`: one command per public data set."""

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.screen import console, progress_bar

prepare = typer.Typer(help="Turn the official files of a public data set into a log.", no_args_is_help=True)


@prepare.command()
def kuairand(
    raw: Annotated[Path, typer.Option(help="Directory of the official CSV files of KuaiRand-Pure.")],
    out: Annotated[Path, typer.Option(help="Directory of the log to write; days already in it are kept.")],
    history: Annotated[
        bool,
        typer.Option("--history", help="Add the last 50 videos and authors that the user clicked on earlier days."),
    ] = False,
) -> None:
    """Join the log of KuaiRand with its users and videos, one partition per day."""
    from tfstable.sources import kuairand as source

    with progress_bar() as progress:
        write = source.prepare_with_histories if history else source.prepare
        days = write(raw, out, progress=progress)
    console.print(f"{out}: {len(days)} new days" + (f", {days[0]} to {days[-1]}" if days else ""))
