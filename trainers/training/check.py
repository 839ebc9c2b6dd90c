"""Checks before training: the config, the log's days and columns, its values, sizes of tables and memory."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table

from tfstable.data.columns import RawColumn, check_schemas, raw_columns
from tfstable.data.log import DayLog, read
from tfstable.errors import InputError
from tfstable.inputs.pretrained import read_vectors
from tfstable.inputs.statistics import Statistics, is_several_valued, table_name, vector_width
from tfstable.locks import clear_abandoned, grow, settle
from tfstable.log_columns import outcome_columns
from tfstable.options import check_lists
from tfstable.sources.simulate import simulate
from tfstable.specs import (
    BinaryTask,
    Categorical,
    HashFeature,
    IdFeature,
    QuantileFeature,
    VocabularyFeature,
    counters,
    living,
)
from trainers.config import Config
from trainers.devices.cluster import read_cluster
from trainers.store.params import read_config
from trainers.store.run_directory import RunDirectory
from trainers.training.first_window import fit_statistics, fitted_types, value_checks
from trainers.training.own_metrics import own_metrics

Progress = Callable[[int, int, str], None]  # Called with the work done, the total, and its name.
BYTES_OF_AN_ID = 90  # Its count, last day and row, and its place in the hash tables of two windows.
SHOWN = 10  # Lines of one kind: a log may have the same fault in every file.


def open_log(config: Config, progress: Progress = lambda *_: None) -> DayLog:
    """Returns the config's log; simulates it first if it does not exist and the config asks for that."""
    if not config.data.path.exists() and config.data.simulate is not None:
        try:
            simulate_whole(config.data.path, **config.data.simulate.model_dump(), progress=progress)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"data.simulate: {error}") from None
    return DayLog(config.data.path, config.data.missing_day, config.data.until, config.data.since)


def open_trained(model_dir: Path, data: Path | None = None) -> tuple[Config, DayLog]:
    """Returns config and log of a run that has been trained, to use it on one device and with every day of the log.

    Args:
        model_dir: The run's directory.
        data: Log to use. Default: the run's own.

    Raises:
        InputError: If the directory is not a run, or the log does not fit it.
    """
    # On any device, not only the one of the training.
    here = ["trainer.strategy=one_device", "data.until=null", "data.since=null"]
    config = read_config(model_dir, [*here, f"data.path={data}"] if data else here)
    log = open_log(config)
    check_log(config, log)
    return config, log


def simulate_whole(path: Path, **arguments: Any) -> None:
    """Simulates a log under a temporary name and renames it: an incomplete log would look complete.

    Args:
        path: The log; must not exist. A log that another process makes meanwhile stays.
        arguments: Arguments of `simulate`.
    """
    clear_abandoned(path.parent)
    partial = grow(path.parent)
    try:
        simulate(partial, **arguments)
        if not path.exists():
            partial.rename(path)
    finally:
        settle(partial)


def check_run(
    config: Config, log: DayLog, model_dir: Path, fresh: bool = False
) -> tuple[RunDirectory, dict[str, RawColumn]]:
    """Checks a run's directory and log against its config, and touches neither.

    Returns:
        The directory, and the raw columns: from an earlier start of the run, else from the log.
    """
    run = RunDirectory(model_dir, config, fresh, writable=read_cluster(config.trainer.strategy).is_chief)
    run.refuse_if_in_use()
    statistics = run.statistics()
    columns = check_log(config, log, None if statistics is None else statistics.columns)
    if statistics is None:
        check_inputs(config, columns)
    return run, columns


def check_log(config: Config, log: DayLog, columns: dict[str, RawColumn] | None = None) -> dict[str, RawColumn]:
    """Checks every day's files against the config, by their metadata only.

    Args:
        config: The run's config.
        log: The log.
        columns: Raw columns of an earlier start of the run; None: the log's.

    Returns:
        The raw columns of the features.

    Raises:
        InputError: Naming the file and the column, or the day, that does not fit; or a metric of one's own that cannot
            be imported.
    """
    own_metrics(config)
    if log.held_out and len(log.days) < config.trainer.window_days:
        raise InputError(
            f"data.until: {log.path} has {len(log.days)} days up to {config.data.until}, fewer than "
            f"trainer.window_days ({config.trainer.window_days}); set a later day, or a shorter window"
        )
    if columns is None and len(log.days) < config.trainer.window_days:
        those = f" from data.since, {config.data.since}, on" if log.earlier else ""
        raise InputError(
            f"{log.path}: {len(log.days)} days{those}, fewer than trainer.window_days ({config.trainer.window_days}); "
            f"add days, or --set trainer.window_days={len(log.days)}"
        )
    if columns is None:
        schemas = [log.schemas(day) for day in log.counted]
        columns = raw_columns(config.features, {path: schema for files in schemas for path, schema in files.items()})
    numbers = outcome_columns(config.tasks, config.data.weight)
    numbers += [task.truth for task in config.tasks.values() if isinstance(task, BinaryTask) and task.truth]
    groups = [*config.evaluation.group_columns, *([config.trainer.shuffle.by] if config.trainer.shuffle.by else [])]
    for day in log.counted:
        check_schemas(log, day, columns, numbers, groups)
        log.units(day)
    return columns


def check_inputs(config: Config, columns: dict[str, RawColumn]) -> None:
    """Checks what a new run reads besides the log: histories of lists, files of given vectors.

    Args:
        config: The run's config.
        columns: Raw columns of the features.

    Raises:
        InputError: If a history is of single values, or a file does not fit its table.
    """
    found = Statistics(columns=columns)
    try:
        check_lists(config.model.sequences, lambda name: is_several_valued(name, config.features[name], found))
    except ValueError as error:
        raise InputError(f"model.{error}") from None
    checked: set[str] = set()
    for name, feature in config.features.items():
        if isinstance(feature, Categorical) and feature.pretrained and table_name(name, feature) not in checked:
            checked.add(table_name(name, feature))
            dtype = columns[feature.column or name].dtype
            read_vectors(Path(feature.pretrained), feature.dim, dtype, f"features.{name}.pretrained")


def check_values(
    config: Config, log: DayLog, columns: dict[str, RawColumn], progress: Callable[[int, int, str], None]
) -> tuple[list[str], list[str]]:
    """Reads every day and fits the first window, as training does.

    Args:
        config: The run's config.
        log: The log, checked against it.
        columns: Raw columns of the features.
        progress: Called with rows read, rows in all and the name of the work.

    Returns:
        Training's remarks on the values, and its errors: one line each, the first error per file.
    """
    checks, types, refused = value_checks(config), fitted_types(config, columns), []
    done, total = 0, sum(log.rows(day) for day in log.counted)
    for day in log.counted:
        for _, units in groupby(log.units(day), key=lambda unit: unit.path):
            try:
                for batch in read(list(units), types, check=checks):
                    done += batch.num_rows
                    progress(done, total, f"reading {day}")
            except InputError as error:
                refused.append(str(error))
    remarks = []
    try:
        remarks = fit_statistics(config, log, columns).remarks
    except InputError as error:
        refused += [str(error)] if str(error) not in refused else []
    return [*remarks, *_first([str(infinite) for infinite in checks.infinite()])], _first(refused)


def _first(lines: list[str]) -> list[str]:
    return lines[:SHOWN] + ([f"and the same in {len(lines) - SHOWN} more files"] if len(lines) > SHOWN else [])


def sizes(config: Config, log: DayLog, columns: dict[str, RawColumn]) -> list[str | Table]:
    """Returns lines and a table on the size of a training: days, rows, embedding tables, memory.

    Args:
        config: The run's config.
        log: The log, checked against it.
        columns: Raw columns of the features.
    """
    rows = [log.rows(day) for day in log.days]
    shown: list[str | Table] = [
        f"log {log.path}: {len(rows)} days, {log.days[0]} to {log.days[-1]}, {sum(rows):,} rows"
    ]
    if log.earlier:
        shown.append(f"before data.since: {len(log.earlier)} days, {log.earlier[0]} to {log.earlier[-1]}, only counted")
    if log.held_out:
        shown.append(f"held out by data.until: {len(log.held_out)} days, {log.held_out[0]} to {log.held_out[-1]}")
    by_row = config.optimizer.groups is None and config.optimizer.embeddings.accumulator == "row"
    megabytes = {n: height * (dim + (1 if by_row else dim)) * 4 / 1e6 for n, (height, dim) in tables(config).items()}
    table = Table("embedding table", "rows", "dim", "MB with Adagrad's slot")
    for name, (height, dim) in tables(config).items():
        table.add_row(name, f"{height:,}", str(dim), f"{megabytes[name]:,.1f}")
    window = max(sum(rows[i : i + config.trainer.window_days]) for i in range(len(rows)))
    counted = counters(config.features)
    inputs = sum(vector_width(f) or 1 for f in config.features.values())
    width = 4 * (inputs + len(config.tasks) + 1) + sum(4 * (c.width or 1) for c in columns.values())
    buffers = 2 * min(window, config.data.buffer_rows) * width / 1e6
    total = sum(megabytes.values())
    memory = f"memory: tables {total:,.0f} MB at most, shuffle buffers about {buffers:,.0f} MB"
    if ids := {table_name(name, feature) for name, feature in living(config.features).items()}:
        memory += f", maps of ids about {sum(tables(config)[name][0] for name in ids) * BYTES_OF_AN_ID / 1e6:,.0f} MB"
    if not counted:
        return [*shown, table, memory]
    of_counters = Table("counter", "keys at most", "numbers", "MB in an export", "MB of sums")
    keys = {name: min(c.buckets, sum(log.rows(day) for day in log.counted)) for name, c in counted.items()}  # At most.
    exported = {name: keys[name] * (len(c.of) + 2) * 4 / 1e6 for name, c in counted.items()}
    sums = {name: keys[name] * (len(c.of) + 1) * 16 / 1e6 for name, c in counted.items()}
    for name, counter in counted.items():
        numbers = (f"{keys[name]:,}", str(len(counter.of) + 1), f"{exported[name]:,.1f}", f"{sums[name]:,.1f}")
        of_counters.add_row(name, *numbers)
    days = config.trainer.window_days + config.trainer.stride_days  # Whose values are held; and sums at two times.
    most = 2 * sum(sums.values()) + days * sum(exported.values())
    return [*shown, table, of_counters, f"{memory}, counters about {most:,.0f} MB at most"]


def tables(config: Config) -> dict[str, tuple[int, int]]:
    """Returns (rows, dim) of each embedding table; for a vocabulary, its upper limit."""
    sizes = {}
    for name, feature in config.features.items():
        if isinstance(feature, HashFeature):
            sizes[table_name(name, feature)] = (feature.buckets + 1, feature.dim)
        elif isinstance(feature, IdFeature):
            sizes[table_name(name, feature)] = (feature.capacity + 1, feature.dim)
        elif isinstance(feature, VocabularyFeature):
            sizes[table_name(name, feature)] = (feature.max_size + 1, feature.dim)
        elif isinstance(feature, QuantileFeature):
            sizes[name] = (feature.buckets + 1, feature.dim)
    return sizes
