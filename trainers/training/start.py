"""Begins a run on all workers together, before TensorFlow is imported."""

from contextlib import ExitStack
from pathlib import Path

from tfstable.data.log import DayLog
from tfstable.data.values import ValueChecks
from tfstable.inputs.statistics import Statistics
from trainers.config import Config
from trainers.devices.facts import note_start, shared_facts, wait_for_start
from trainers.devices.workers import Workers, listening
from trainers.store.run_directory import RunDirectory
from trainers.training.check import Progress, check_run, open_log
from trainers.training.first_window import fit_statistics
from trainers.training.init_config import inherited_statistics


def start_together(
    workers: Workers, config: Config, model_dir: Path, fresh: bool, progress: Progress = lambda *_: None
) -> DayLog:
    """Opens and checks the log and the run's directory on every worker, and compares the facts that all must share.

    Raises:
        InputError: On all workers, if one of them finds bad input, or has another config, log or version.
        WorkerLostError: If a worker does not come.
    """

    def checked() -> DayLog:
        log = open_log(config, progress)
        check_run(config, log, model_dir, fresh)
        return log

    def own_address() -> None:
        with listening(workers.cluster):
            pass

    # The chief comes first: it may have to simulate the log, which all may share.
    log = workers.together(checked if workers.cluster.is_chief else own_address)
    return workers.together(lambda: log or checked(), lambda log: shared_facts(config, log, workers.cluster, fresh))


def begin(
    workers: Workers,
    config: Config,
    log: DayLog,
    model_dir: Path,
    fresh: bool,
    checks: ValueChecks,
    held: ExitStack,
) -> tuple[RunDirectory, Statistics]:
    """Begins the run: the chief, for all workers, fits the statistics unless an earlier start has.

    Args:
        workers: The workers, which have started together; they leave each other here, for TensorFlow.
        config: The config.
        log: The log.
        model_dir: The run's directory.
        fresh: Delete what an earlier run left there.
        checks: Checks the values that the fit reads.
        held: Keeps the directory's lock.

    Raises:
        InputError: On all workers: if the first window cannot be read, before anything is written; if the directory
            cannot be written or is in use, or a worker has another one.
    """
    run, columns = check_run(config, log, model_dir, fresh)

    def fitted() -> str:
        if (earlier := run.statistics()) is not None:
            return earlier.model_dump_json()
        fitted = fit_statistics(config, log, columns, checks)
        return inherited_statistics(config, columns, fitted).model_dump_json()

    def begun() -> tuple[str, str | None]:
        held.enter_context(run.locked())  # Only now: bad input found so far leaves nothing behind.
        return run.begin(statistics).model_dump_json(), note_start(model_dir, workers.cluster)

    statistics = Statistics.model_validate_json(workers.decide(fitted))
    stored, start = workers.decide(begun)
    workers.together(lambda: wait_for_start(model_dir, workers.cluster, start))
    workers.close()  # TensorFlow takes their addresses.
    return run, Statistics.model_validate_json(stored)
