"""`tfstable reproducibility`."""

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.options import ConfigFile, Overrides, RecipeName, open_grid
from trainers.cli.screen import console


def reproducibility(
    config: ConfigFile = None,
    recipe: RecipeName = None,
    out: Annotated[Path, typer.Option(help="Directory for the trainings, the table and the pictures.")] = Path(
        "runs/reproducibility"
    ),
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Measure how much the predictions of two trainings of one config differ, and which settings reduce it.

    Rerun the same command to resume: trainings that are already in OUT are not repeated.
    """
    from trainers.studies.reproducibility.config import ReproducibilityConfig

    settings, log = open_grid(config, recipe, overrides, ReproducibilityConfig)
    from trainers.studies.reproducibility.program import reproducibility as run

    run(settings, log, out, console)
