"""Arrow types: the one that files which disagree can all be read as, and the way there."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from tfstable.errors import InputError

CODED_TEXT = pa.dictionary(pa.int32(), pa.string())  # Each row the number of its value, each value once.


def field_type(schema: pa.Schema, column: str, where: object) -> pa.DataType:
    """Returns the type of `column`; raises an InputError that names it and `where` if it is not in `schema`."""
    if column not in schema.names:
        raise InputError(f"{where}: no column {column}; the file has {', '.join(sorted(schema.names))[:300]}")
    return schema.field(column).type


def widest(types: Iterable[pa.DataType]) -> pa.DataType:
    """Returns the type that values of all of `types` fit into.

    Where they differ, that is the last that occurs of: only nulls, boolean, integer, number, anything else. Of lists it
    is a list of their values' type, of dictionaries their values' type.
    """
    types = {dtype.value_type if pa.types.is_dictionary(dtype) else dtype for dtype in types}
    if lists := {dtype.value_type for dtype in types if is_list(dtype)}:
        return pa.list_(widest(lists))
    known = sorted(types - {pa.null()}, key=lambda dtype: (_rank(dtype), str(dtype)))
    if len(known) < 2:
        return known[0] if known else pa.null()
    # All integers are within int64, all kinds of number within float64.
    return {2: pa.int64(), 3: pa.float64()}.get(_rank(known[-1]), known[-1])


def cast(array: pa.Array | pa.ChunkedArray, dtype: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Casts a column. Numbers become floats by rounding; a NaN where integers are wanted becomes a null.

    Raises:
        pa.ArrowInvalid: If an integer is wanted and a value is a fraction or too large.
        pa.ArrowNotImplementedError: If there is no way from one type to the other.
    """
    if dtype == CODED_TEXT:
        return array if array.type == CODED_TEXT else array.cast(pa.string()).dictionary_encode()
    if pa.types.is_floating(dtype):
        return array.cast(dtype, safe=False)  # Arrow's safe cast calls 2**24 + 1 as float32 an error.
    if pa.types.is_integer(dtype) and pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    return array.cast(dtype)


def is_list(dtype: pa.DataType) -> bool:
    return pa.types.is_list(dtype) or pa.types.is_large_list(dtype)


def _rank(dtype: pa.DataType) -> int:
    if pa.types.is_boolean(dtype):
        return 1
    if pa.types.is_integer(dtype):
        return 2
    return 3 if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype) else 4
