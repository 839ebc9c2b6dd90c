"""What can be found before training: the config, the log's days and columns, sizes of tables and memory."""

import shutil
from pathlib import Path

from tfstable.data.columns import RawColumn, check_schemas, raw_columns
from tfstable.data.log import DayLog
from tfstable.data.simulate import simulate
from tfstable.data.types import field_type
from tfstable.errors import InputError
from tfstable.specs import BinaryTask, HashFeature, QuantileFeature, VocabularyFeature, label_columns
from tfstable.statistics import table_name
from trainers.cluster import read_cluster
from trainers.config import Config
from trainers.run_directory import RunDirectory


def open_log(config: Config, progress) -> DayLog:
    """Returns the config's log; where it does not exist and the config says so, simulates it first."""
    if not config.data.path.exists() and config.data.simulate is not None:
        # Under another name until it is whole: a log cut short would pass for the log.
        partial = config.data.path.with_name(f".{config.data.path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        simulate(partial, **config.data.simulate.model_dump(), progress=progress)
        partial.rename(config.data.path)
    return DayLog(config.data.path, config.data.missing_day, config.data.until)


def check_run(config: Config, log: DayLog, model_dir: Path, fresh: bool = False) -> tuple[RunDirectory, dict]:
    """Checks a run's directory and log against its config, and touches neither.

    Returns:
        The directory, and the raw columns: as an earlier start of the run found them, or as the log has them.
    """
    run = RunDirectory(model_dir, config, fresh, writable=read_cluster(config.trainer.strategy).is_chief)
    statistics = run.statistics()
    return run, check_log(config, log, statistics and statistics.columns)


def check_log(config: Config, log: DayLog, columns: dict[str, RawColumn] | None = None) -> dict[str, RawColumn]:
    """Checks every day's files against the config, by their metadata alone.

    Args:
        config: The run's config.
        log: The log.
        columns: Raw columns as an earlier start of the run found them; None: as the log has them.

    Returns:
        The raw columns of the features.

    Raises:
        InputError: Naming the file and the column, or the day, that does not fit.
    """
    if log.held_out and len(log.days) < config.trainer.window_days:
        raise InputError(
            f"data.until: {log.path} has {len(log.days)} days up to {config.data.until}, fewer than "
            f"trainer.window_days ({config.trainer.window_days}); set a later day, or a shorter window"
        )
    if len(log.days) < config.trainer.window_days:
        raise InputError(
            f"{log.path}: {len(log.days)} days, fewer than trainer.window_days ({config.trainer.window_days}); "
            f"add days, or --set trainer.window_days={len(log.days)}"
        )
    if columns is None:
        schemas = [log.schemas(day) for day in log.days]
        columns = raw_columns(config.features, {path: schema for files in schemas for path, schema in files.items()})
    numbers = [*label_columns(config.tasks).values()]
    numbers += [task.truth for task in config.tasks.values() if isinstance(task, BinaryTask) and task.truth]
    numbers += [config.data.weight] if config.data.weight else []
    for day in log.days:
        check_schemas(log, day, columns, numbers)
        log.units(day)
        if config.evaluation.gauc_column:
            for path, schema in log.schemas(day).items():
                field_type(schema, config.evaluation.gauc_column, path)
    return columns


def tables(config: Config) -> dict[str, tuple[int, int]]:
    """Returns (rows, dim) of each embedding table; of a vocabulary, the most that it can have."""
    sizes = {}
    for name, feature in config.features.items():
        if isinstance(feature, HashFeature):
            sizes[table_name(name, feature)] = (feature.buckets + 1, feature.dim)
        elif isinstance(feature, VocabularyFeature):
            sizes[table_name(name, feature)] = (feature.max_size + 1, feature.dim)
        elif isinstance(feature, QuantileFeature):
            sizes[name] = (feature.buckets + 1, feature.dim)
    return sizes
