"""`tfstable stability`."""

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.options import ConfigFile, Overrides, RecipeName, open_grid
from trainers.cli.screen import console


def stability(
    config: ConfigFile = None,
    recipe: RecipeName = None,
    out: Annotated[Path, typer.Option(help="Directory for the runs, the table and the pictures.")] = Path(
        "runs/stability"
    ),
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Measure which treatments survive which learning rates, per model, on a log: table 2 of Tang et al., 2023.

    Rerun the same command to resume: runs that are already in OUT are not repeated.
    """
    from trainers.studies.stability.config import StabilityConfig

    settings, log = open_grid(config, recipe, overrides, StabilityConfig)
    from trainers.studies.stability.program import stability as run

    run(settings, log, out, console)
