"""`tfstable train`."""

from datetime import datetime
from typing import Annotated

import typer

from trainers.cli.options import DAY, ConfigFile, ModelDir, Overrides, RecipeName, read_config
from trainers.cli.screen import console, progress_bar, quiet_tensorflow
from trainers.config import Config
from trainers.devices.cluster import read_cluster


def train(
    *,
    config: ConfigFile = None,
    recipe: RecipeName = None,
    model_dir: ModelDir,
    overrides: Overrides = [],  # noqa: B006  (typer's way to give a list option a default)
    fresh: Annotated[bool, typer.Option(help="Delete what an earlier run left in MODEL_DIR.")] = False,
    from_day: Annotated[
        datetime | None,
        typer.Option(
            help="Go back to the newest checkpoint from before this day and train again, for days that came late or "
            "were mended. Later metrics, checkpoints and exports go to MODEL_DIR/set_aside.",
            **DAY,
        ),
    ] = None,
    profile: Annotated[bool, typer.Option(help="Write a TensorFlow profile to MODEL_DIR/tensorboard.")] = False,
) -> None:
    """Train on the days of a log in time order, evaluate each day before training on it, export a SavedModel.

    Rerun the same command to resume a stopped run, or to train on days that the log has gained since.

    MODEL_DIR then holds params.yaml, checkpoints/, windows/DAY/metrics.json, metrics.json (the last evaluation day),
    export/N (SavedModels), tensorboard/ and events.jsonl.

    Exit status: 0 done, 2 bad input, 3 diverged for good, 75 lost another worker (restart all workers), 130 Ctrl-C and
    143 SIGTERM (both after a checkpoint).
    """
    from trainers.devices.workers import Workers, config_on_every_worker

    settings = config_on_every_worker(lambda: read_config(config, recipe, overrides, Config))
    from trainers.training.start import start_together

    day = from_day.date() if from_day else None
    workers = Workers(read_cluster(settings.trainer.strategy), settings.trainer.start_minutes)
    with progress_bar() as progress:  # Before TensorFlow is imported, so that bad input is reported within a second.
        log = start_together(workers, settings, model_dir, fresh, progress, day)
    quiet_tensorflow()
    from trainers import Run

    Run(settings, model_dir, log, fresh=fresh, workers=workers, console=console).train(profile=profile, from_day=day)
