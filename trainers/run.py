"""What the commands do with a run, top to bottom."""

from datetime import date
from pathlib import Path

from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.errors import InputError
from trainers.check import check_run
from trainers.config import Config
from trainers.evaluation import evaluate as evaluate_day
from trainers.model import model_class
from trainers.moving_window import MovingWindow, fit_statistics
from trainers.report import Report
from trainers.run_directory import RunDirectory, to_json


def train(config: Config, log: DayLog, model_dir: Path, console: Console, *, fresh: bool = False):
    """Trains a run to the end of its log, from where it stands.

    Args:
        config: The config.
        log: The log.
        model_dir: The run's directory.
        console: Where to print.
        fresh: Delete what an earlier run left in `model_dir`.

    Raises:
        InputError: Before anything is written, if config and log do not fit together.
    """
    run, columns = check_run(config, log, model_dir, fresh)
    model_class(config)
    statistics = run.statistics() or fit_statistics(config, log, columns)
    run.begin(statistics)  # Only now: bad input found so far leaves nothing behind.
    report = Report(console, list(config.tasks), run.tensorboard if config.trainer.tensorboard else None)
    MovingWindow(config, log, statistics, run, report).train()
    if (metrics := run.newest_metrics()) is not None:
        report.summary(metrics)


def evaluate(config: Config, model_dir: Path, log: DayLog, day: date, console: Console):
    """Prints the metrics of a run's newest checkpoint on a day, as JSON."""
    model = _restored(config, model_dir, log, console)
    console.print_json(
        to_json(
            {
                "trained_to": model.position.last_day,
                "day": day,
                "tasks": evaluate_day(config, log, day, model.predict(day)),
            }
        )
    )


def export(config: Config, model_dir: Path, console: Console):
    """Publishes a run's newest checkpoint."""
    log = DayLog(config.data.path, config.data.missing_day)
    console.print(f"{_restored(config, model_dir, log, console).publish()}: the newest checkpoint", soft_wrap=True)


def _restored(config: Config, model_dir: Path, log: DayLog, console: Console) -> MovingWindow:
    run = RunDirectory(model_dir, config)
    statistics = run.statistics()
    model = None if statistics is None else MovingWindow(config, log, statistics, run, Report(console, [], None))
    if model is None or model.position.last_day is None:
        raise InputError(f"{model_dir}: no finished window yet; train it first")
    return model
