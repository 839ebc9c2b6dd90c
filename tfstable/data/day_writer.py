"""Writes one day of a log so that it appears whole or not at all."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.errors import InputError
from tfstable.files import stranger, whole

#: Rows per row group, the unit that shuffled reading permutes: one or two megabytes of a wide log.
ROW_GROUP = 16_384


@contextmanager
def day_writer(log: Path, day: date, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Opens `LOG/date=YYYY-MM-DD/part-0.parquet` for writing; the day appears when the block ends without an error.

    The file grows in a hidden directory, which readers ignore; renaming that directory publishes the day.

    Args:
        log: Directory of the log; created if missing.
        day: The day; must not be in the log yet.
        schema: Columns of the file, without the date: the directory's name holds it.

    Yields:
        A writer; call `write_table(table, row_group_size=ROW_GROUP)` as often as needed.

    Raises:
        InputError: If the day exists already or the directory cannot be written.
    """
    directory = log / f"date={day}"
    if directory.exists():
        raise InputError(f"{directory}: the day exists already, and days are never rewritten; remove it first")
    unfinished = log / f".writing-date={day}"
    if unfinished.is_symlink() or stranger(unfinished, re.compile("part-0.parquet")) is not None:
        raise InputError(f"{unfinished}: in the way of the new day, and not written by tfstable; move it away")
    try:
        with whole(directory, unfinished):
            unfinished.mkdir()
            with pq.ParquetWriter(unfinished / "part-0.parquet", schema, use_dictionary=_repeating(schema)) as writer:
                yield writer
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error}); free space or choose another place") from error


def _repeating(schema: pa.Schema) -> list[str]:
    """Columns that a dictionary makes smaller: all but floats, which hardly repeat and would take twice as long."""
    return [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in schema
        if not pa.types.is_floating(field.type)
    ]
