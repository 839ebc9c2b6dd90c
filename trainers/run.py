"""What the commands do with a run, top to bottom."""

import os
from datetime import date
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.errors import InputError
from trainers.check import check_run
from trainers.config import Config
from trainers.evaluation import evaluate as evaluate_day
from trainers.failures import full_disk, lost_workers
from trainers.first_window import fit_statistics, value_checks
from trainers.model import model_class
from trainers.moving_window import MovingWindow
from trainers.profiler import Profiler
from trainers.report import Report
from trainers.run_directory import RunDirectory, to_json
from trainers.termination import Termination


def train(
    config: Config, log: DayLog, model_dir: Path, console: Console, *, fresh: bool = False, profile: bool = False
):
    """Trains a run to the end of its log, from where it stands.

    Args:
        config: The config.
        log: The log.
        model_dir: The run's directory.
        console: Where to print.
        fresh: Delete what an earlier run left in `model_dir`.
        profile: Write a TensorFlow profile of a call of the train step.

    Raises:
        InputError: Before anything is written, if config and log do not fit together; later, if a file cannot be read
            or written.
        WorkerLostError: If another worker of the cluster is gone.
        Terminated: If SIGTERM came, after the state was saved.
    """
    termination = Termination()
    with termination.installed(), lost_workers(config), full_disk(model_dir):
        run, columns = check_run(config, log, model_dir, fresh)
        model_class(config)
        pa.set_cpu_count(config.data.reader_threads or os.cpu_count() or 1)
        checks = value_checks(config)
        statistics = run.statistics() or fit_statistics(config, log, columns, checks)
        run.begin(statistics)  # Only now: bad input found so far leaves nothing behind.
        if not run.writable:
            console = Console(quiet=True)
        tensorboard = run.tensorboard if config.trainer.tensorboard and run.writable else None
        report = Report(console, list(config.tasks), tensorboard)
        profiler = Profiler(run.tensorboard if profile and run.writable else None)
        for remark in statistics.remarks:
            report.found(remark)
        moving_window = MovingWindow(config, log, statistics, run, report, termination, profiler)
        moving_window.infinite.tell(checks.infinite())
        moving_window.train()
        if (metrics := run.newest_metrics()) is not None:
            report.summary(metrics)


def evaluate(config: Config, model_dir: Path, log: DayLog, day: date, console: Console):
    """Prints the metrics of a run's newest checkpoint on a day, as JSON."""
    model = _restored(config, model_dir, log, console)
    console.print_json(
        to_json(
            {
                "trained_to": model.state.position.last_day,
                "day": day,
                "tasks": evaluate_day(config, log, day, model.state.predict(day)),
            }
        )
    )


def export(config: Config, model_dir: Path, console: Console):
    """Publishes a run's newest checkpoint."""
    log = DayLog(config.data.path, config.data.missing_day)
    version = _restored(config, model_dir, log, console).publish()
    if version is None:
        raise InputError(f"{model_dir}: the export gate refuses the newest checkpoint; events.jsonl says why")
    console.print(f"{version}: the newest checkpoint", soft_wrap=True)


def _restored(config: Config, model_dir: Path, log: DayLog, console: Console) -> MovingWindow:
    run = RunDirectory(model_dir, config)
    statistics = run.statistics()
    model = None if statistics is None else MovingWindow(config, log, statistics, run, Report(console, [], None))
    if model is None or model.state.position.last_day is None:
        raise InputError(f"{model_dir}: no finished window yet; train it first")
    return model
