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

#: Rows of a row group: the piece that shuffled reading moves around, a megabyte or two of a wide log.
ROW_GROUP = 16_384


@contextmanager
def day_writer(log: Path, day: date, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Opens `LOG/date=YYYY-MM-DD/part-0.parquet` for writing; the day appears when the block ends without an error.

    The file grows in a hidden directory beside the days, which readers pass over; renaming that directory publishes it.

    Args:
        log: Directory of the log; made if it is not there.
        day: The day; must not be in the log yet.
        schema: Columns of the file; the date is the directory's and no column.

    Yields:
        A writer; call `write_table(table, row_group_size=ROW_GROUP)` as often as needed.

    Raises:
        InputError: If the day is there already or the place cannot be written.
    """
    directory = log / f"date={day}"
    if directory.exists():
        raise InputError(f"{directory}: the day is there already and days are never rewritten; remove it first")
    unfinished = log / f".writing-date={day}"
    if unfinished.is_symlink() or stranger(unfinished, re.compile("part-0.parquet")) is not None:
        raise InputError(f"{unfinished}: in the way of the day, and not left by an earlier command; move it away")
    try:
        with whole(directory, unfinished):
            unfinished.mkdir()
            with pq.ParquetWriter(unfinished / "part-0.parquet", schema, use_dictionary=_repeating(schema)) as writer:
                yield writer
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error}); choose another place or free it") from error


def _repeating(schema: pa.Schema) -> list[str]:
    """Columns that a dictionary makes smaller; for floats, which hardly repeat, it doubles the time of writing."""
    return [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in schema
        if not pa.types.is_floating(field.type)
    ]
