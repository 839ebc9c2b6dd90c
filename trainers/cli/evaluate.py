"""`tfstable evaluate`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trainers.cli.options import DAY, ModelDir, run_config
from trainers.cli.screen import console, quiet_tensorflow


def evaluate(
    model_dir: ModelDir,
    data: Annotated[Path | None, typer.Option(help="Another log than the one of the run.")] = None,
    day: Annotated[
        datetime | None,
        typer.Option(help="Day to evaluate on. Default: the newest, with a warning if it was trained on.", **DAY),
    ] = None,
):
    """Evaluate the newest checkpoint of a run on one day of a log, which may be a day held out by data.until."""
    from trainers.training.check import check_log, open_log

    settings = run_config(model_dir, data)
    log = open_log(settings, lambda *_: None)
    check_log(settings, log)
    quiet_tensorflow()
    from trainers.training.run import evaluate as run

    warnings = Console(stderr=True, width=console.width)
    run(settings, model_dir, log, day.date() if day else log.days[-1], console, warnings)
