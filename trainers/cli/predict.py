"""`tfstable predict`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainers.cli.options import DAY, Data
from trainers.cli.screen import console, progress_bar, quiet_tensorflow


def predict(
    version: Annotated[Path, typer.Option("--export", help="An exported version: MODEL_DIR/export/N.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    day: Annotated[datetime | None, typer.Option(help="Day to predict. Default: all days.", **DAY)] = None,
    keep: Annotated[
        str,
        typer.Option(
            help="Columns of the log to copy into OUT: user_id,video_id. A label named like a task becomes NAME_label."
        ),
    ] = "",
) -> None:
    """Run an export over a log: one row per example in the order of the log, one column per task, and the day."""
    from tfstable.data.log import DayLog

    log = DayLog(data, missing_day="skip")
    quiet_tensorflow()
    from tfstable.serving.predict import predict as run

    days = [day.date()] if day else log.days
    with progress_bar() as progress:
        rows, counted = run(version, log, days, out, [name for name in keep.split(",") if name], progress)
    console.print(f"{out}: {rows:,} rows")
    if counted:
        screen = Console(stderr=True, width=console.width)
        known = f"{counted[0]}" if counted[0] == counted[-1] else f"{counted[0]} to {counted[-1]}"
        line = (
            f"warning: the counters of {version} include the labels of {known}, so it predicts them better than it "
            "would in service; `tfstable evaluate` shows each day the counters of its time"
        )
        screen.print(line, soft_wrap=True, highlight=False)
