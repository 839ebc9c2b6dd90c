"""`tfstable export`."""

from pathlib import Path
from typing import Annotated

import typer

from trainers.cli.options import ModelDir
from trainers.cli.screen import console, quiet_tensorflow
from trainers.config import ExportConfig


def export(
    model_dir: ModelDir,
    show: Annotated[bool, typer.Option("--list", help="List the versions instead.")] = False,
    promote: Annotated[
        int | None, typer.Option(metavar="N", help="Roll back: publish a copy of version N as the newest instead.")
    ] = None,
) -> None:
    """Publish the newest checkpoint of a run as the next version in MODEL_DIR/export."""
    if show or promote is not None:
        _versions(model_dir, show, promote)
        return
    from trainers.training.check import open_trained

    settings, log = open_trained(model_dir)
    quiet_tensorflow()
    from trainers import Run

    version = Run(settings, model_dir, log, console=console).export()
    console.print(f"{version}: the newest checkpoint", soft_wrap=True)


def _versions(model_dir: Path, show: bool, number: int | None) -> None:
    from trainers.cli.versions import promote, table
    from trainers.store.params import NAME, read_params

    params = read_params(model_dir / NAME)  # Also of a run of an earlier version.
    if number is not None:
        quiet_tensorflow()
        keep = params["export"].get("keep_versions", ExportConfig().keep_versions)
        console.print(promote(model_dir, number, keep), soft_wrap=True)
    if show:
        console.print(table(model_dir))
