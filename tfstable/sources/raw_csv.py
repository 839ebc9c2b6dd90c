"""Reads a raw CSV file strictly; an error names the bad line."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from tfstable.data.types import EXACT
from tfstable.errors import InputError


def read_raw_csv(path: Path, types: dict[str, pa.DataType], filled: Sequence[str] = ()) -> pa.Table:
    """Reads the columns `types` of a CSV file with a header; an empty field is a null.

    Integers may be written as `4` or as `4.0`, as pandas does in columns with nulls.

    Args:
        path: The file, UTF-8, one row per line.
        types: The columns to read, int64, float64 or string; others are ignored.
        filled: Columns that must have a value in every row.

    Returns:
        A table with these columns in this order, its rows in the order of the lines.

    Raises:
        InputError: If the file is missing, cut short or lacks a column, or a line does not fit the types.
    """
    if path.exists() and not path.is_file():  # Opening a pipe would wait for ever.
        raise InputError(f"{path}: cannot be read (not a regular file); put the file there")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); put the file there") from error
    lines = content.count(b"\n")
    if not content:
        raise InputError(f"{path}: the file is empty; copy it again")
    if not content.endswith(b"\n"):
        raise InputError(f"{path}, line {lines + 1}: the file ends within the line; copy it again")
    header = next(csv.reader([content.partition(b"\n")[0].decode(errors="replace")]))
    if missing := [column for column in types if column not in header]:
        raise InputError(f"{path}: no column {missing[0]}; the file has {', '.join(header)}")

    # Integers are parsed as float64, exact up to 2^53, to accept both spellings.
    parsed = {name: pa.string() if pa.types.is_string(dtype) else pa.float64() for name, dtype in types.items()}
    try:
        table = read_csv(
            pa.BufferReader(content),
            read_options=ReadOptions(use_threads=False),  # Threads do not know a bad line's number.
            parse_options=ParseOptions(ignore_empty_lines=False),
            convert_options=ConvertOptions(
                column_types=parsed, include_columns=list(types), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        raise _located(path, header, error) from error
    if table.num_rows != lines - 1:
        raise InputError(f"{path}: {lines - 1} lines hold {table.num_rows} rows: a quote is not closed; copy it again")
    return pa.table({name: _checked(path, name, table[name], types[name], name in filled) for name in types})


def _checked(path: Path, name: str, column: pa.ChunkedArray, dtype: pa.DataType, filled: bool) -> pa.ChunkedArray:
    if filled and column.null_count:
        raise InputError(f"{path}, line {_first(pc.is_null(column))}: column {name} is empty; fix the line")
    if pa.types.is_integer(dtype):
        whole = pc.and_(pc.is_finite(column), pc.equal(pc.floor(column), column))
        if pc.any(pc.invert(whole)).as_py():
            line = _first(pc.invert(whole))
            raise InputError(f"{path}, line {line}: column {name} holds {column[line - 2]}, not a whole number")
        large = pc.greater_equal(pc.abs(column), float(EXACT[pa.float64()]))
        if pc.any(large).as_py():
            raise InputError(f"{path}, line {_first(large)}: column {name} holds an id beyond 2^53, which it rounds")
    return column.cast(dtype)


def _first(mask: pa.ChunkedArray) -> int:
    """Line of the first row where `mask` is true; the header is line 1."""
    return int(np.argmax(pc.fill_null(mask, False).to_numpy())) + 2


def _located(path: Path, header: list[str], error: pa.ArrowInvalid) -> InputError:
    """Arrow's message ("In CSV column #3: Row #5: ...", the header being row 1) with file, line and column in front."""
    message = " ".join(str(error).split())
    line = re.search(r"Row #(\d+): ", message)
    column = re.search(r"In CSV column #(\d+): ", message)
    place = f"{path}, line {line[1]}" if line else str(path)
    what = f"column {header[int(column[1])]}: " if column else ""
    reason = re.sub(r"In CSV column #\d+: |Row #\d+: |CSV parse error: |CSV conversion error ", "", message)
    return InputError(f"{place}: {what}{reason[:120]}; fix the line or copy the file again")
