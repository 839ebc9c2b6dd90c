"""Options that several commands share, and the reading of the config that they name."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from tfstable.data.log import DayLog
from tfstable.errors import InputError
from trainers.cli.screen import progress_bar, quiet_tensorflow
from trainers.config import Config, load
from trainers.config.recipes import recipe_path
from trainers.inherit.tfrs import spec as tfrs

AnyConfig = TypeVar("AnyConfig", bound=Config)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file with the config; `tfstable schema` prints its keys.")
]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME", help="Use this recipe instead; `tfstable recipe` lists them.")
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config: --set trainer.batch_size=2048."),
]
InitFrom = Annotated[
    Path | None,
    typer.Option(
        "--init-from",
        metavar="DIR",
        help="Start from a trained model: a run, a checkpoint DIR/checkpoints/N, an exported version DIR/export/N, or "
        "a TFRS model with its tfrs.yaml. The same as --set init.from=DIR.",
    ),
]
Rename = Annotated[
    list[str],
    typer.Option(
        "--rename", metavar="OLD=NEW", help="With --init-from: a feature, task or sequence that has another name now."
    ),
]
ModelDir = Annotated[Path, typer.Option("--model-dir", help="Directory of the run.")]
Data = Annotated[Path, typer.Option(help="Directory of the log.")]
DAY = {"formats": ["%Y-%m-%d"], "metavar": "YYYY-MM-DD"}
Day = Annotated[datetime | None, typer.Option("--day", help="Day to use. Default: the last day of the log.", **DAY)]


def with_source(overrides: list[str], init_from: Path | None, rename: list[str]) -> list[str]:
    """Returns the overrides with those that `--init-from` and `--rename` stand for.

    Raises:
        InputError: If a rename is not OLD=NEW.
    """
    if wrong := [text for text in rename if not all(text.partition("="))]:
        raise InputError(f"--rename {wrong[0]}: write --rename old_name=new_name")
    names = dict(text.split("=", 1) for text in rename)
    given = [] if init_from is None else [f"init.from={json.dumps(str(init_from))}"]
    return [*overrides, *given, *([f"init.rename={json.dumps(names)}"] if names else [])]


def read_config(config: Path | None, recipe: str | None, overrides: list[str], kind: type[AnyConfig]) -> AnyConfig:
    """Returns the config that `--config` or `--recipe` names, with `--set` applied.

    Raises:
        InputError: If none or both of the two are given, or the config is wrong.
    """
    if (config is None) == (recipe is None):
        raise InputError("give exactly one of --config FILE and --recipe NAME; `tfstable recipe` lists the recipes")
    settings = load(config or recipe_path(recipe or ""), overrides, kind=kind)
    if settings.init is not None and tfrs.find(settings.init.source):
        quiet_tensorflow()  # Its files are read by TensorFlow.
    return settings


def open_grid(
    config: Path | None, recipe: str | None, overrides: list[str], kind: type[AnyConfig]
) -> tuple[AnyConfig, DayLog]:
    """Returns the config of a grid of trainings and its log, and checks one against the other."""
    settings = read_config(config, recipe, overrides, kind)
    from trainers.training.check import check_inputs, check_log, open_log

    with progress_bar() as progress:
        log = open_log(settings, progress)
    check_inputs(settings, check_log(settings, log))
    quiet_tensorflow()
    return settings, log
