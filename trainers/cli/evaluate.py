"""`tfstable evaluate`."""

import warnings
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfstable.files import to_json
from trainers.cli.options import DAY, ModelDir
from trainers.cli.screen import console, quiet_tensorflow


def evaluate(
    model_dir: ModelDir,
    data: Annotated[Path | None, typer.Option(help="Log to evaluate on. Default: the log of the run.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option(help="Day to evaluate on. Default: the newest, with a warning if it was trained on.", **DAY),
    ] = None,
) -> None:
    """Evaluate the newest checkpoint of a run on one day of a log; the day may be held out by data.until."""
    from trainers.training.check import open_trained

    settings, log = open_trained(model_dir, data)
    quiet_tensorflow()
    from trainers.training.run import Run, SeenDayWarning

    run, wanted = Run(settings, model_dir, log), day.date() if day else log.days[-1]
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        found = {"trained_to": run.trained_to(), "day": wanted, "tasks": run.evaluate(wanted)}
    for warning in noted:
        if warning.category is SeenDayWarning:
            screen = Console(stderr=True, width=console.width)
            screen.print(f"warning: {warning.message}", soft_wrap=True, highlight=False)
    console.print_json(to_json(found))
