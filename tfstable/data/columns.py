"""Raw columns: from arrow's types to the few that training and the exported signature share.

int64 for integers and booleans, float32 for numbers, string for text; lists become rows of a fixed width. A null
becomes the missing value of its type (`specs.MISSING_INT`, NaN, "").
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.log import DayLog, Unit, read
from tfstable.errors import InputError
from tfstable.specs import MISSING_INT, Categorical, Feature, Spec, feature_columns

MISSING = {"int64": MISSING_INT, "float32": float("nan"), "string": ""}
ARROW = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}


class RawColumn(Spec):
    """A column as the signature takes it: `(batch,)` of `dtype`, or `(batch, width)` for lists."""

    dtype: Literal["int64", "float32", "string"]
    width: int | None = None


def raw_columns(features: dict[str, Feature], schema: pa.Schema, where: object) -> dict[str, RawColumn]:
    """Returns the raw column behind each feature's column, as the first day's `schema` has it.

    Args:
        features: Feature specs by name.
        schema: Schema of a file of the log.
        where: What error messages name as the place, a file's path.

    Raises:
        InputError: If a column is missing or of a type that its feature cannot take.
    """
    columns: dict[str, RawColumn] = {}
    for name, column in feature_columns(features).items():
        categorical = isinstance(features[name], Categorical)
        arrow_type = field_type(schema, column, where)
        is_list = _is_list(arrow_type)
        kind = _kind(arrow_type.value_type if is_list else arrow_type)
        wanted = ("int64", "float32", "string") if categorical else ("int64", "float32")
        if kind not in wanted or (is_list and not categorical):
            raise InputError(
                f"{where}: column {column} has type {arrow_type}, which features.{name} ({features[name].kind}) "
                "cannot take; change its kind or the column"
            )
        if categorical and kind == "float32":
            kind = "int64"  # Ids that pandas widened for their nulls; a fraction is an error when it is read.
        if (features[name].delimiter if categorical else None) and kind != "string":
            raise InputError(f"{where}: column {column} has type {arrow_type}; features.{name}.delimiter needs text")
        width = features[name].max_values if is_list else None
        if (known := columns.get(column)) is not None:
            width = max(width, known.width) if is_list else None
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
            is_list = _is_list(arrow_type)
            kind = _kind(arrow_type.value_type if is_list else arrow_type)
            same = kind is None or (kind == "string") == (column.dtype == "string")
            if not pa.types.is_null(arrow_type) and (not same or is_list != (column.width is not None)):
                expected = f"list of {column.dtype}" if column.width else column.dtype
                raise InputError(f"{path}: column {name} has type {arrow_type}, expected {expected}; write it so")
        for name in numbers:
            arrow_type = field_type(schema, name, path)
            if _kind(arrow_type) not in ("int64", "float32") and not pa.types.is_null(arrow_type):
                raise InputError(f"{path}: column {name} has type {arrow_type}, expected a number (label or weight)")


def field_type(schema: pa.Schema, column: str, where: object) -> pa.DataType:
    """Returns the type of `column`; raises an InputError that names it and `where` if it is not in `schema`."""
    if column not in schema.names:
        raise InputError(f"{where}: no column {column}; the file has {', '.join(sorted(schema.names))[:300]}")
    return schema.field(column).type


def to_numpy(array: pa.ChunkedArray, name: str, column: RawColumn) -> np.ndarray:
    """Converts a column to `(rows,)` or `(rows, width)` values of its raw dtype, nulls as the missing value.

    Strings come as an object array. Of a longer list the first `width` values stay.

    Raises:
        InputError: If a value does not fit the dtype, for example a fraction in a column of ids.
    """
    missing = MISSING[column.dtype]
    try:
        if column.width is None:
            return _values(array.cast(ARROW[column.dtype]), missing)
        lists = array.cast(pa.list_(ARROW[column.dtype])).combine_chunks()
    except pa.ArrowInvalid as error:
        raise InputError(f"column {name}: {str(error)[:160]}; expected {column.dtype}") from error
    rows = np.full((len(lists), column.width), missing, dtype=object if column.dtype == "string" else column.dtype)
    parent = pc.list_parent_indices(lists).to_numpy()
    position = np.arange(len(parent)) - np.searchsorted(parent, parent)  # Place of each value within its list.
    kept = position < column.width
    rows[parent[kept], position[kept]] = _values(pc.list_flatten(lists), missing)[kept]
    return rows


def raw_batches(units: Sequence[Unit], columns: dict[str, RawColumn]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the raw columns of `units` in the log's order, a record batch at a time."""
    for batch in read(units, arrow_types(columns)):
        table = pa.Table.from_batches([batch])
        yield {name: to_numpy(table[name], name, column) for name, column in columns.items()}


def arrow_types(columns: dict[str, RawColumn]) -> dict[str, pa.DataType | None]:
    """Returns the type to parse each column of a CSV file as; CSV knows no lists."""
    return {name: ARROW[column.dtype] if column.width is None else None for name, column in columns.items()}


def numbers(array: pa.ChunkedArray) -> np.ndarray:
    """Converts labels or weights to `(rows,)` float32, nulls as NaN."""
    return _values(array.cast(pa.float32()), float("nan"))


def _values(array: pa.Array | pa.ChunkedArray, missing: object) -> np.ndarray:
    if array.null_count:
        array = pc.fill_null(array, missing)
    return array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy()


def _is_list(dtype: pa.DataType) -> bool:
    return pa.types.is_list(dtype) or pa.types.is_large_list(dtype)


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
