"""Begins a run on all workers together, before TensorFlow is imported."""

from contextlib import ExitStack
from datetime import date
from pathlib import Path

from tfstable.data.log import DayLog
from tfstable.data.values import ValueChecks
from tfstable.errors import InputError
from tfstable.inputs.statistics import Statistics
from trainers.config import Config
from trainers.devices.facts import note_start, shared_facts, wait_for_start
from trainers.devices.workers import Workers, listening
from trainers.store.going_back import decide, go_back
from trainers.store.run_directory import RunDirectory
from trainers.training.check import Progress, check_run, open_log
from trainers.training.first_window import fit_statistics


def start_together(
    workers: Workers,
    config: Config,
    model_dir: Path,
    fresh: bool,
    progress: Progress = lambda *_: None,
    from_day: date | None = None,
) -> DayLog:
    """Opens and checks the log and the run's directory on every worker, and compares the facts that all must share.

    Raises:
        InputError: On all workers, if one of them finds bad input, or has another config, log or version.
        WorkerLostError: If a worker does not come.
    """

    def checked() -> DayLog:
        if fresh and from_day:
            raise InputError("--from-day goes back in a run, and --fresh deletes it; leave one of the two out")
        log = open_log(config, progress)
        check_run(config, log, model_dir, fresh)
        return log

    def own_address() -> None:
        with listening(workers.cluster):
            pass

    # The chief comes first: it may have to simulate the log, which all may share.
    log = workers.together(checked if workers.cluster.is_chief else own_address)
    return workers.together(
        lambda: log or checked(), lambda log: shared_facts(config, log, workers.cluster, fresh, from_day)
    )


def begin(
    workers: Workers,
    config: Config,
    log: DayLog,
    model_dir: Path,
    fresh: bool,
    checks: ValueChecks,
    held: ExitStack,
    from_day: date | None = None,
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
        from_day: Go back to before this day; None: go on from the newest checkpoint.

    Raises:
        InputError: On all workers: if no checkpoint is from before `from_day`, or the first window cannot be read,
            before anything is written; if the directory cannot be written or is in use, or a worker has another one.
    """
    run, columns = check_run(config, log, model_dir, fresh)

    def fitted() -> str:
        return (run.statistics() or fit_statistics(config, log, columns, checks)).model_dump_json()

    def begun() -> tuple[str, str | None]:
        held.enter_context(run.locked())  # Only now: bad input found so far leaves nothing behind.
        if not fresh:
            remember(go_back(run))  # What an earlier start began.
        decided = decide(run, log, config.trainer, from_day) if from_day else None
        stored = run.begin(statistics).model_dump_json()
        remember(go_back(run, decided))
        return stored, note_start(model_dir, workers.cluster)

    def remember(line: str | None) -> None:
        run.remarks += [line] if line else []

    statistics = Statistics.model_validate_json(workers.decide(fitted))
    stored, start = workers.decide(begun)
    workers.together(lambda: wait_for_start(model_dir, workers.cluster, start))
    workers.close()  # TensorFlow takes their addresses.
    return run, Statistics.model_validate_json(stored)
