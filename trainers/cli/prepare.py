"""`tfstable prepare`: one command per public data set."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.screen import console, progress_bar


class MovieSplit(StrEnum):
    """Splits of MovieLens."""

    rechorus = "rechorus"


prepare = typer.Typer(help="Turn the official files of a public data set into a log.", no_args_is_help=True)


@prepare.command()
def kuairand(
    raw: Annotated[Path, typer.Option(help="Directory of the official CSV files of KuaiRand-Pure.")],
    out: Annotated[Path, typer.Option(help="Directory of the log to write; days already in it are kept.")],
) -> None:
    """Join the log of KuaiRand with its users and videos, one partition per day."""
    from tfstable.sources import kuairand as source

    with progress_bar() as progress:
        days = source.prepare(raw, out, progress=progress)
    console.print(f"{out}: {len(days)} new days" + (f", {days[0]} to {days[-1]}" if days else ""))


@prepare.command()
def movielens(
    raw: Annotated[Path, typer.Option(help="Official archive, such as ml-1m.zip, or a directory of its files.")],
    out: Annotated[Path, typer.Option(help="Directory of the log to write; days already in it are kept.")],
    split: Annotated[
        MovieSplit | None,
        typer.Option(
            help="rechorus: training, validation and test rows of ReChorus 2.0 as days 2000-01-01 to 03, with what "
            "the user liked before. Default: the real days."
        ),
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="With --split: newest earlier likes per row.")] = 50,
) -> None:
    """Join the ratings of MovieLens (1M, 100K, latest) with movies and users, one partition per day."""
    from tfstable.sources import movielens as source

    with progress_bar() as progress:
        written = source.prepare(raw, out, split.value if split else None, last, progress=progress)
    console.print(f"{out}: {len(written)} new days" + (f", {min(written)} to {max(written)}" if written else ""))
    for day, (rows, liked) in written.items() if split else ():
        console.print(f"{day}: {rows:,} rows, {liked:,} liked")
