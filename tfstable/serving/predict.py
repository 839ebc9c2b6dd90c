"""Predicts a log with an exported version, into a Parquet file."""

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.data.arrays import to_numpy
from tfstable.data.columns import arrow_types, check_schemas
from tfstable.data.log import DayLog, common_types, read
from tfstable.errors import InputError
from tfstable.files import whole
from tfstable.serving.card import ModelCard
from tfstable.serving.export import Serving, metadata, resolve

MARK = b"tfstable.predictions"  # Metadata key; marks the file as one that a later command may replace.


def predict(
    version: Path,
    log: DayLog,
    days: list[date],
    out: Path,
    keep: list[str],
    progress: Callable[[int, int, str], None],
) -> tuple[int, list[date]]:
    """Writes one row per example, in the log's order: `date`, the columns to keep, one float32 column per task.

    A kept column whose name is also a task's (the default for a label) is written as `NAME_label`.

    Memory holds one record batch, for a log of any size. The file appears when it is complete; it replaces only earlier
    predictions.

    Returns:
        The number of rows, and those of the days whose labels the export's counters include.

    Raises:
        InputError: If a column is missing or of the wrong type, a file cannot be read, `out` exists and is not
            predictions or lies inside the log, or two columns would have the same name.
    """
    _check_out(out, log)
    version = resolve(version)
    serving, keep = Serving(version), list(dict.fromkeys(keep))
    kept_as = _names(keep, metadata(version))
    for day in days:
        check_schemas(log, day, serving.columns, [])
    columns = common_types({unit.path for day in days for unit in log.units(day)}, keep)
    columns |= arrow_types(serving.columns)
    total, done, writer = sum(log.rows(day) for day in days), 0, None
    with whole(out) as hidden:
        for day in days:
            for batch in read(log.units(day), columns):
                table = pa.Table.from_batches([batch])
                raw = {name: to_numpy(table[name], name, column) for name, column in serving.columns.items()}
                # A signature's outputs have no fixed order: it may differ between two runs.
                predictions = {name: pa.array(values) for name, values in sorted(serving(raw).items())}
                dates = pa.array([day] * batch.num_rows, pa.date32())
                kept = {kept_as[name]: table[name] for name in keep}
                result = pa.table({"date": dates, **kept, **predictions}, metadata={MARK: str(version)})
                writer = writer or pq.ParquetWriter(hidden, result.schema)
                writer.write_table(result)
                done += batch.num_rows
                progress(done, total, f"predicting {day}")
        assert writer is not None  # Every day has rows.
        writer.close()
    counted_to = metadata(version).counted_to or ""
    return done, [day for day in days if str(day) <= counted_to]


def _check_out(out: Path, log: DayLog) -> None:
    if out.resolve().is_relative_to(log.path.resolve()):
        raise InputError(f"--out {out}: inside the log, where readers would take it for rows; choose another place")
    if not os.path.lexists(out):
        return
    try:
        ours = MARK in (pq.read_schema(out).metadata or {})
    except (OSError, pa.ArrowException):
        ours = False
    if not ours:
        raise InputError(f"--out {out}: exists and does not hold tfstable's predictions; choose another name")


def _names(keep: list[str], card: ModelCard) -> dict[str, str]:
    """Returns the name under which each kept column is written."""
    outputs = card.signatures["serving_default"]["outputs"]
    label_of = {task: about.get("label") for task, about in (card.tasks or {}).items()}
    names = {name: f"{name}_label" if label_of.get(name) == name else name for name in keep}
    for name, written in names.items():
        if written == "date":
            raise InputError("--keep date: the column date already holds each row's day; leave it out")
        if written in outputs:
            raise InputError(f"--keep {name}: task {written} has that name but another label; leave {name} out")
        if other := next((n for n, w in names.items() if w == written and n != name), None):
            raise InputError(f"--keep {name},{other}: both would be written as {written}; leave one out")
    return names
