"""Raw columns as NumPy arrays: nulls become missing values, lists become rows of a fixed width."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.columns import ARROW, MISSING, RawColumn, arrow_types
from tfstable.data.log import read
from tfstable.data.log_files import Unit
from tfstable.data.types import CODED_TEXT, cast
from tfstable.errors import InputError
from tfstable.specs import MISSING_INT


def to_numpy(array: pa.ChunkedArray, name: str, column: RawColumn) -> np.ndarray:
    """Converts a column to `(rows,)` or `(rows, width)` values of its raw dtype, nulls as the missing value.

    Strings come as an object array. Of a longer list `width` values stay: the first or the last, as `keep` says. A
    vector with a null or a NaN in it is missing as a whole.

    Raises:
        InputError: If a value does not fit the dtype, for example a fraction in a column of ids.
    """
    missing = MISSING[column.dtype]
    try:
        if column.width is None:
            return _values(cast(array, ARROW[column.dtype]), missing)
        if column.vector:
            return vectors(cast(array, pa.list_(ARROW[column.dtype], column.width)))
        lists = cast(array, pa.list_(ARROW[column.dtype])).combine_chunks()
    except pa.ArrowInvalid as error:
        raise InputError(f"column {name}: {str(error)[:300]}") from error
    return _rows(lists, _values(pc.list_flatten(lists), missing), missing, column)


def numbers(array: pa.ChunkedArray) -> np.ndarray:
    """Converts labels or weights to `(rows,)` float32, nulls as NaN."""
    return _values(cast(array, pa.float32()), float("nan"))


def vectors(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Converts lists of a fixed size to `(rows, width)` floats; a row with a null or a NaN in it is NaN as a whole."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    width = array.type.list_size
    values = array.values.slice(array.offset * width, len(array) * width)  # Those of nulls are among them.
    x = np.array(_values(values, float("nan"))).reshape(len(array), width)
    x[np.isnan(x).any(axis=1) | ~np.asarray(array.is_valid())] = np.nan
    return x


def raw_batches(units: Sequence[Unit], columns: dict[str, RawColumn]) -> Iterator[dict[str, np.ndarray]]:
    """Yields the raw columns of `units` in the log's order, a record batch at a time."""
    for batch in read(units, arrow_types(columns)):
        table = pa.Table.from_batches([batch])
        yield {name: to_numpy(table[name], name, column) for name, column in columns.items()}


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
        raise InputError(f"column {name}: {str(error)[:300]}") from error
    values = np.append(coded.dictionary.to_numpy(zero_copy_only=False).astype(object), "")
    missing = len(values) - 1
    places = _values(coded.indices, missing)
    return values, places if column.width is None else _rows(lists, places, missing, column)


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
    return np.append(least + np.arange(greatest - least + 1), MISSING_INT), places


def keep_last(rows: np.ndarray, missing: object, width: int) -> np.ndarray:
    """Returns the last `width` values of each row, `(rows, width)`; missing values at a row's end are padding."""
    known = rows != missing if missing == missing else ~np.isnan(rows)
    lengths = rows.shape[1] - np.argmax(known[:, ::-1], axis=1)
    first = np.where(known.any(axis=1), np.maximum(lengths - width, 0), 0)
    return np.take_along_axis(rows, first[:, None] + np.arange(width), axis=1)


def _rows(lists: pa.ListArray, flat: np.ndarray, missing: object, column: RawColumn) -> np.ndarray:
    """Cuts the lists' values into rows, `(lists, width)`, padded with the missing one; what is beyond is dropped."""
    width = column.width or 0
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    parent = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # Of each value in its list.
    if column.keep == "last":
        position -= np.repeat(np.maximum(lengths - width, 0), lengths)
    rows = np.full((len(lengths), width), missing, dtype=flat.dtype)
    kept = (position >= 0) & (position < width)
    rows[parent[kept], position[kept]] = flat[kept]
    return rows


def _values(array: pa.Array | pa.ChunkedArray, missing: object) -> np.ndarray:
    if array.null_count:
        array = pc.fill_null(array, missing)
    return array.to_numpy(zero_copy_only=False) if isinstance(array, pa.Array) else array.to_numpy()
