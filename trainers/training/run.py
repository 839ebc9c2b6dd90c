"""What the commands do with a run, top to bottom."""

import os
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from tfstable.data.log import DayLog
from tfstable.data.values import ValueChecks
from tfstable.errors import InputError
from tfstable.files import to_json
from tfstable.inputs.statistics import Statistics
from trainers.build.model import model_class
from trainers.config import Config
from trainers.devices.cluster import read_cluster
from trainers.devices.facts import devices_and_code, note_start, wait_for_start
from trainers.devices.failures import full_disk, lost_workers
from trainers.devices.memory import share_heap
from trainers.devices.termination import Termination
from trainers.devices.workers import Workers
from trainers.report.console import Report
from trainers.report.profiler import Profiler
from trainers.store.run_directory import RunDirectory
from trainers.training.check import check_run, start_together
from trainers.training.evaluation import evaluate as evaluate_day
from trainers.training.first_window import fit_statistics, value_checks
from trainers.training.loop import MovingWindow


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
        Terminated: If SIGTERM or SIGINT came, after the state was saved.
    """
    share_heap()
    termination = Termination()
    with termination.installed(), lost_workers(config), full_disk(model_dir), ExitStack() as held:
        if workers is None:
            workers = Workers(read_cluster(config.trainer.strategy), config.trainer.start_minutes)
            start_together(workers, config, model_dir, fresh)
        workers.together(lambda: model_class(config), devices_and_code)
        pa.set_cpu_count(config.data.reader_threads or os.cpu_count() or 1)
        checks = value_checks(config)
        run, statistics = begin(workers, config, log, model_dir, fresh, checks, held)
        workers.close()  # TensorFlow takes their addresses.
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


def begin(
    workers: Workers,
    config: Config,
    log: DayLog,
    model_dir: Path,
    fresh: bool,
    checks: ValueChecks,
    held: ExitStack,
) -> tuple[RunDirectory, Statistics]:
    """Fits the statistics, unless an earlier start has, and begins the run: the chief does, for all workers.

    Args:
        workers: The workers, which have started together.
        config: The config.
        log: The log.
        model_dir: The run's directory.
        fresh: Delete what an earlier run left there.
        checks: What the fit notes of the values.
        held: Keeps the directory's lock.

    Raises:
        InputError: On all workers: if the first window cannot be read, before anything is written; if the directory
            cannot be written or is in use, or a worker has another one.
    """
    run, columns = check_run(config, log, model_dir, fresh)

    def fitted() -> str:
        return (run.statistics() or fit_statistics(config, log, columns, checks)).model_dump_json()

    def begun() -> list[str | None]:
        held.enter_context(run.locked())  # Only now: bad input found so far leaves nothing behind.
        return [run.begin(statistics).model_dump_json(), note_start(model_dir, workers.cluster)]

    statistics = Statistics.model_validate_json(workers.decide(fitted))
    stored, start = workers.decide(begun)
    workers.together(lambda: wait_for_start(model_dir, workers.cluster, start))
    return run, Statistics.model_validate_json(stored)


def evaluate(config: Config, model_dir: Path, log: DayLog, day: date, console: Console, warnings: Console):
    """Prints the metrics of a run's newest checkpoint on a day, as JSON; warns if the checkpoint was trained on it.

    It writes nothing, so the run may go on meanwhile.
    """
    model = _restored(config, RunDirectory(model_dir, config, writable=False), log, console)
    trained_to = model.trained_to()
    if model.run.first_day() <= day <= trained_to:
        later = f"name a later day, up to {log.days[-1]}" if log.days[-1] > trained_to else "hold days out: data.until"
        warnings.print(
            f"warning: {model_dir} was trained on days to {trained_to}: {day} is not new to it, and metrics of "
            f"a new day are worse; {later}",
            soft_wrap=True,
            highlight=False,
        )
    console.print_json(
        to_json(
            {
                "trained_to": trained_to,
                "day": day,
                "tasks": evaluate_day(config, log, day, model.state.predict(day)),
            }
        )
    )


def export(config: Config, model_dir: Path, console: Console):
    """Publishes a run's newest checkpoint."""
    log, run = DayLog(config.data.path, config.data.missing_day), RunDirectory(model_dir, config)
    run.refuse_if_in_use()
    with full_disk(model_dir), run.locked():
        version = _restored(config, run, log, console).publish()
    if version is None:
        raise InputError(f"{model_dir}: the export gate refuses the newest checkpoint; events.jsonl says why")
    console.print(f"{version}: the newest checkpoint", soft_wrap=True)


def _restored(config: Config, run: RunDirectory, log: DayLog, console: Console) -> MovingWindow:
    statistics = run.statistics()
    model = None if statistics is None else MovingWindow(config, log, statistics, run, Report(console, [], None))
    if model is None or model.state.position.last_day is None:
        raise InputError(f"{run.path}: no finished window yet; train it first")
    return model
