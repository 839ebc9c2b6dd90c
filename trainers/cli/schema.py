"""`tfstable schema`."""

import json
from typing import Annotated

import typer

from trainers.config import Config


def schema(
    grid: Annotated[bool, typer.Option(help="The config of `tfstable stability` instead.")] = False,
    reproducibility: Annotated[bool, typer.Option(help="The config of `tfstable reproducibility` instead.")] = False,
) -> None:
    """Print the JSON schema of a config: every key with its type, default and meaning."""
    from trainers.studies.reproducibility.config import ReproducibilityConfig
    from trainers.studies.stability.config import StabilityConfig

    kind = StabilityConfig if grid else ReproducibilityConfig if reproducibility else Config
    print(json.dumps(kind.model_json_schema(), indent=1))
