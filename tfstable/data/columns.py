"""Raw columns: from arrow's types to the few that training and the exported signature share.

int64 for integers and booleans, float32 for numbers, string for text; lists become rows of a fixed width. A null
becomes the missing value of its type (`specs.MISSING_INT`, NaN, "").
"""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.log import DayLog, Unit, is_csv, read
from tfstable.data.types import CODED_TEXT, cast, field_type, is_list, widest
from tfstable.errors import InputError
from tfstable.specs import MISSING_INT, Categorical, Feature, Spec, feature_columns

MISSING = {"int64": MISSING_INT, "float32": float("nan"), "string": ""}
ARROW = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}


class RawColumn(Spec):
    """A column as the signature takes it: `(batch,)` of `dtype`, or `(batch, width)` for lists."""

    dtype: Literal["int64", "float32", "string"]
    width: int | None = None


def raw_columns(features: dict[str, Feature], schemas: dict[Path, pa.Schema]) -> dict[str, RawColumn]:
    """Returns the raw column behind each feature's column, such that every file of the log fits into it.

    Args:
        features: Feature specs by name.
        schemas: Schemas of the log's files, by path. One cannot speak for all, above all of CSV, whose types are those
            of its rows: ids without a gap are integers and numbers with one, a lone tag is a number and two are text.

    Raises:
        InputError: If a column is missing or of a type that its feature cannot take.
    """
    column_of = feature_columns(features)
    delimited = {column_of[name] for name, f in features.items() if isinstance(f, Categorical) and f.delimiter}
    columns: dict[str, RawColumn] = {}
    for name, feature in features.items():
        column, categorical = column_of[name], isinstance(feature, Categorical)
        types = {path: field_type(schema, column, path) for path, schema in schemas.items()}
        arrow_type = _common_type(types)
        if column in delimited and all(is_csv(path) for path in types):
            arrow_type = pa.string()
        where = next((path for path, dtype in types.items() if widest([dtype]) == arrow_type), next(iter(types)))
        if pa.types.is_null(arrow_type):
            raise InputError(f"{where}: column {column} is null in every row of the log; drop features.{name}")
        several = is_list(arrow_type)
        kind = _kind(arrow_type.value_type if several else arrow_type)
        wanted = ("int64", "float32", "string") if categorical else ("int64", "float32")
        if kind not in wanted or (several and (not categorical or column in delimited)):
            raise InputError(
                f"{where}: column {column} has type {arrow_type}, which features.{name} ({feature.kind}) "
                "cannot take; change its kind or the column"
            )
        if categorical and kind == "float32":
            kind = "int64"  # Ids that pandas widened for their nulls; a fraction is an error when it is read.
        if column in delimited and kind != "string":
            raise InputError(f"{where}: column {column} has type {arrow_type}; features.{name}.delimiter needs text")
        width = feature.max_values if several else None
        if (known := columns.get(column)) is not None:
            width = max(width, known.width) if several else None
            kind = known.dtype if known.dtype == "int64" else kind
        columns[column] = RawColumn(dtype=kind, width=width)
    return columns


def check_schemas(log: DayLog, day: date, columns: dict[str, RawColumn], numbers: list[str]) -> None:
    """Raises an InputError that names file and column if a file of `day` cannot be read as `columns` and `numbers`.

    Args:
        log: The log.
        day: A day of it.
        columns: Feature columns by name.
        numbers: Columns that must be numbers: labels, weights, true probabilities.
    """
    for path, schema in log.schemas(day).items():
        for name, column in columns.items():
            arrow_type = field_type(schema, name, path)
            if not _fits(arrow_type, column, is_csv(path)):
                expected = f"list of {column.dtype}" if column.width else column.dtype
                raise InputError(f"{path}: column {name} has type {arrow_type}, expected {expected}; write it so")
        for name in numbers:
            arrow_type = field_type(schema, name, path)
            if _kind(arrow_type) not in ("int64", "float32") and not pa.types.is_null(arrow_type):
                raise InputError(
                    f"{path}: column {name} has type {arrow_type}, expected numbers (a label or weight); write it so"
                )


def to_numpy(array: pa.ChunkedArray, name: str, column: RawColumn) -> np.ndarray:
    """Converts a column to `(rows,)` or `(rows, width)` values of its raw dtype, nulls as the missing value.

    Strings come as an object array. Of a longer list the first `width` values stay.

    Raises:
        InputError: If a value does not fit the dtype, for example a fraction in a column of ids.
    """
    missing = MISSING[column.dtype]
    try:
        if column.width is None:
            return _values(cast(array, ARROW[column.dtype]), missing)
        lists = cast(array, pa.list_(ARROW[column.dtype])).combine_chunks()
    except pa.ArrowInvalid as error:
        raise InputError(f"column {name}: {str(error)[:160]}; expected {column.dtype}") from error
    return _rows(lists, _values(pc.list_flatten(lists), missing), missing, column.width)


def distinct(array: pa.ChunkedArray, name: str, column: RawColumn) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of a column of text, each once, and where the rows' are among them.

    Returns:
        Values, `(values,)` strings of which the last is "", the missing one; places, `(rows,)` or `(rows, width)`.

    Raises:
        InputError: If a value is no text.
    """
    try:
        if column.width is None:
            coded = cast(array, CODED_TEXT).combine_chunks()
        else:
            lists = cast(array, pa.list_(ARROW[column.dtype])).combine_chunks()
            coded = cast(pc.list_flatten(lists), CODED_TEXT)
    except pa.ArrowInvalid as error:
        raise InputError(f"column {name}: {str(error)[:160]}; expected {column.dtype}") from error
    values = np.append(coded.dictionary.to_numpy(zero_copy_only=False).astype(object), "")
    missing = len(values) - 1
    places = _values(coded.indices, missing)
    return values, places if column.width is None else _rows(lists, places, missing, column.width)


def distinct_integers(x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the integers from the least to the greatest of a column, and where the rows' are among them.

    Args:
        x: `(rows,)` int64.

    Returns:
        Values, int64, of which the last is the missing one; places, `(rows,)`. None if the range is
        longer than a quarter of the column, where fewer values than rows would save little.
    """
    known = x[x != MISSING_INT]
    if not len(known):
        return np.array([MISSING_INT]), np.zeros(len(x), np.int64)
    least, greatest = int(known.min()), int(known.max())
    if greatest - least >= len(x) // 4:
        return None
    places = x - least
    places[x == MISSING_INT] = greatest - least + 1
    return np.append(np.arange(least, greatest + 1), MISSING_INT), places


def _rows(lists: pa.ListArray, flat: np.ndarray, missing: object, width: int) -> np.ndarray:
    """Cuts the lists' values into rows, `(lists, width)`, padded with the missing one; what is beyond is dropped."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    parent = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # Of each value in its list.
    rows = np.full((len(lengths), width), missing, dtype=flat.dtype)
    kept = position < width
    rows[parent[kept], position[kept]] = flat[kept]
    return rows


def raw_batches(units: Sequence[Unit], columns: dict[str, RawColumn]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the raw columns of `units` in the log's order, a record batch at a time."""
    for batch in read(units, arrow_types(columns)):
        table = pa.Table.from_batches([batch])
        yield {name: to_numpy(table[name], name, column) for name, column in columns.items()}


def arrow_types(columns: dict[str, RawColumn], coded_text: bool = False) -> dict[str, pa.DataType]:
    """Returns the type to read each column as; `coded_text` as numbers of values, where it is not in lists."""
    types = {name: ARROW[column.dtype] for name, column in columns.items()}
    return {
        name: pa.list_(dtype)
        if columns[name].width is not None
        else CODED_TEXT
        if coded_text and dtype == pa.string()
        else dtype
        for name, dtype in types.items()
    }


def numbers(array: pa.ChunkedArray) -> np.ndarray:
    """Converts labels or weights to `(rows,)` float32, nulls as NaN."""
    return _values(cast(array, pa.float32()), float("nan"))


def _values(array: pa.Array | pa.ChunkedArray, missing: object) -> np.ndarray:
    if array.null_count:
        array = pc.fill_null(array, missing)
    return array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy()


def _common_type(types: dict[Path, pa.DataType]) -> pa.DataType:
    """The type of a column over all files. Numbers and text mix in CSV alone, as text."""
    known = [dtype for dtype in types.values() if not _is_null(dtype)]
    if known and not all(is_csv(path) for path in types):
        # Parquet means what it says: the first file's word counts, and `check_schemas` finds those that are unlike it.
        known = [dtype for dtype in known if _form(dtype) == _form(known[0])]
    return widest(known or types.values())


def _form(dtype: pa.DataType) -> tuple[bool, str | None]:
    kind = _kind(dtype.value_type if is_list(dtype) else dtype)
    return is_list(dtype), "number" if kind in ("int64", "float32") else kind


def _is_null(dtype: pa.DataType) -> bool:
    return pa.types.is_null(dtype.value_type if is_list(dtype) else dtype)


def _fits(dtype: pa.DataType, column: RawColumn, csv: bool) -> bool:
    if pa.types.is_null(dtype):
        return True
    if column.width is not None:
        # pandas writes a file in which every list is empty as lists of nulls.
        return is_list(dtype) and (pa.types.is_null(dtype.value_type) or _is_kind(dtype.value_type, column.dtype))
    return (csv and column.dtype == "string") or _is_kind(dtype, column.dtype)  # Any CSV can be read as text.


def _is_kind(dtype: pa.DataType, wanted: str) -> bool:
    return _kind(dtype) in (("string",) if wanted == "string" else ("int64", "float32"))


def _kind(dtype: pa.DataType) -> str | None:
    if pa.types.is_dictionary(dtype):
        return _kind(dtype.value_type)
    if pa.types.is_integer(dtype) or pa.types.is_boolean(dtype):
        return "int64"
    if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
        return "float32"
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return "string"
    return None
