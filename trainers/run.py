"""What the commands do with a run, top to bottom."""

import os
from datetime import date
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.statistics import Statistics
from trainers.check import check_run, start_together
from trainers.cluster import read_cluster
from trainers.config import Config
from trainers.evaluation import evaluate as evaluate_day
from trainers.facts import devices_and_code, note_start, wait_for_start
from trainers.failures import full_disk, lost_workers
from trainers.model import model_class
from trainers.moving_window import MovingWindow, fit_statistics
from trainers.profiler import Profiler
from trainers.report import Report
from trainers.run_directory import RunDirectory, to_json
from trainers.termination import Termination
from trainers.workers import Workers


def train(
    config: Config,
    log: DayLog,
    model_dir: Path,
    console: Console,
    *,
    fresh: bool = False,
    profile: bool = False,
    workers: Workers | None = None,
):
    """Trains a run to the end of its log, from where it stands.

    Args:
        config: The config.
        log: The log.
        model_dir: The run's directory.
        console: Where to print.
        fresh: Delete what an earlier run left in `model_dir`.
        profile: Write a TensorFlow profile of a call of the train step.
        workers: The workers, which have started together; None: they do so here.

    Raises:
        InputError: Before anything is written, if config and log do not fit together; later, if a file cannot be read
            or written.
        WorkerLostError: If another worker of the cluster is gone.
        Terminated: If SIGTERM came, after the state was saved.
    """
    termination = Termination()
    with termination.installed(), lost_workers(config), full_disk(model_dir):
        if workers is None:
            workers = Workers(read_cluster(config.trainer.strategy), config.trainer.start_minutes)
            start_together(workers, config, model_dir, fresh)
        workers.together(lambda: model_class(config), devices_and_code)
        pa.set_cpu_count(config.data.reader_threads or os.cpu_count() or 1)
        run, statistics = begin(workers, config, log, model_dir, fresh)
        workers.close()  # TensorFlow takes their addresses.
        if not run.writable:
            console = Console(quiet=True)
        tensorboard = run.tensorboard if config.trainer.tensorboard and run.writable else None
        report = Report(console, list(config.tasks), tensorboard)
        profiler = Profiler(run.tensorboard if profile and run.writable else None)
        MovingWindow(config, log, statistics, run, report, termination, profiler).train()
        if (metrics := run.newest_metrics()) is not None:
            report.summary(metrics)


def begin(
    workers: Workers, config: Config, log: DayLog, model_dir: Path, fresh: bool
) -> tuple[RunDirectory, Statistics]:
    """Fits the statistics, unless an earlier start has, and begins the run: the chief does, for all workers.

    Raises:
        InputError: On all workers: if the first window cannot be read, before anything is written; if the directory
            cannot be written, or a worker has another one.
    """
    run, columns = check_run(config, log, model_dir, fresh)

    def statistics() -> str:
        return (run.statistics() or fit_statistics(config, log, columns)).model_dump_json()

    fitted = Statistics.model_validate_json(workers.decide(statistics))
    start = workers.decide(lambda: run.begin(fitted) or note_start(model_dir, workers.cluster))
    workers.together(lambda: wait_for_start(model_dir, workers.cluster, start))
    return run, fitted


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
