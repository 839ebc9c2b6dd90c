"""Arrow types: the few that a column's values have, however a file lays them out, and the way there.

A way never changes a value in silence: what would be rounded, cut or misread is a `pa.ArrowInvalid` that says so.
Numbers for a network are the exception: they become float32 by rounding.
"""

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.errors import InputError

CODED_TEXT = pa.dictionary(pa.int32(), pa.string())  # Each row the number of its value, each value once.
NOT_UTF_8 = "not UTF-8 text; write it as UTF-8 (a CSV file in Latin-1: iconv -f latin1 -t utf8)"
UNREADABLE = b"unreadable"  # Key of a field's metadata: why its column cannot be read.
EXACT = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}  # From here on whole numbers are rounded.


def field_type(schema: pa.Schema, column: str, where: object) -> pa.DataType:
    """Returns the plain type of `column`; raises an InputError that names it and `where` if it is not there once."""
    try:
        names = schema.names
    except UnicodeDecodeError:
        raise InputError(f"{where}: the name of a column is {NOT_UTF_8}") from None
    if column not in names:
        raise InputError(f"{where}: no column {column}; the file has {', '.join(sorted(names))[:300]}")
    if (count := names.count(column)) > 1:
        raise InputError(f"{where}: column {column} is there {count} times; rename or drop all but one")
    field = schema.field(column)
    if reason := (field.metadata or {}).get(UNREADABLE):
        raise InputError(f"{where}: column {column}: {reason.decode()}")
    return plain(field.type)


def plain(dtype: pa.DataType) -> pa.DataType:
    """Returns the type of the values, whatever their layout: views, dictionaries, large and fixed sizes are alike.

    Bytes are text: many writers do not mark their text as such. What is not UTF-8 is found when it is read.
    """
    if isinstance(dtype, pa.BaseExtensionType):
        return plain(dtype.storage_type)
    if pa.types.is_dictionary(dtype) or pa.types.is_run_end_encoded(dtype):
        return plain(dtype.value_type)
    if is_list(dtype):
        return pa.list_(plain(dtype.value_type))
    return pa.string() if _is_bytes(dtype) else dtype


def widest(types: Iterable[pa.DataType]) -> pa.DataType:
    """Returns the type that values of all of the plain `types` fit into.

    Where they differ, that is the last that occurs of: only nulls, boolean, integer, number, anything else. Of lists it
    is a list of their values' type.
    """
    types = {plain(dtype) for dtype in types}
    if lists := {dtype.value_type for dtype in types if is_list(dtype)}:
        return pa.list_(widest(lists))
    known = sorted(types - {pa.null()}, key=lambda dtype: (_rank(dtype), str(dtype)))
    if len(known) < 2:
        return known[0] if known else pa.null()
    return {2: pa.int64(), 3: pa.float64()}.get(_rank(known[-1]), known[-1])


def fits(dtype: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of the plain type `dtype` can be meant by `wanted`: text, numbers, lists of them."""
    if pa.types.is_null(dtype):
        return True
    wanted = plain(wanted)
    if is_list(dtype) or is_list(wanted):
        return is_list(dtype) and is_list(wanted) and fits(dtype.value_type, wanted.value_type)
    return is_number(dtype) if is_number(wanted) else dtype == wanted


def cast(array: pa.Array | pa.ChunkedArray, dtype: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Casts a column from any layout to a plain type or `CODED_TEXT`.

    To float32 numbers are rounded. A NaN where integers are wanted becomes a null. Text is parsed where numbers are
    wanted; true is 1 and false 0.

    Raises:
        pa.ArrowInvalid: If a value does not fit: a sentence that begins with the value and ends with a remedy.
        pa.ArrowNotImplementedError: If there is no way from one type to the other.
    """
    if isinstance(array, pa.ChunkedArray):
        return pa.chunked_array([cast(chunk, dtype) for chunk in array.chunks], dtype)
    if isinstance(array, pa.ExtensionArray):
        return cast(array.storage, dtype)
    if pa.types.is_run_end_encoded(array.type):
        return cast(pc.run_end_decode(array), dtype)
    if array.type == dtype and not (dtype == CODED_TEXT and array.dictionary.null_count):
        return array
    if pa.types.is_dictionary(array.type):
        values = cast(array.dictionary, pa.string() if dtype == CODED_TEXT else dtype)
        if dtype == CODED_TEXT and not values.null_count:
            return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), values)
        return cast(values.take(array.indices), dtype)
    if dtype == CODED_TEXT:
        return cast(array, pa.string()).dictionary_encode()
    if is_list(dtype) and is_list(array.type):
        return _vectors(array, dtype) if pa.types.is_fixed_size_list(dtype) else _lists(array, dtype)
    if _is_bytes(array.type):
        text = _text(array)
        return text if pa.types.is_string(dtype) else parse(text, dtype)
    if pa.types.is_decimal(array.type) and array.type.bit_width < 128:
        array = array.cast(pa.decimal128(38, array.type.scale))  # From narrow ones Arrow's casts go wrong.
    if pa.types.is_int64(dtype):
        return _integers(array)
    if pa.types.is_float64(dtype) and pa.types.is_integer(array.type):
        return _exact(array)
    return array.cast(dtype, safe=not pa.types.is_floating(dtype))  # 2**24 + 1 as float32 is no error.


def parse(text: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Returns the numbers or booleans that stand in `text`; a null stays one.

    Raises:
        pa.ArrowInvalid: If a value is none, or one that the type would not hold.
    """
    if pa.types.is_int64(dtype) and has_leading_zero(text):
        value = text.filter(_leading_zero(text))[0]
        raise pa.ArrowInvalid(
            f"{value.as_py()} as an integer loses its leading zero; set type: string for ids, type: float for numbers"
        )
    try:
        numbers = text.cast(dtype)
    except pa.ArrowInvalid:
        numbers = _parse_loosely(pc.utf8_trim_whitespace(text), dtype)
    if pa.types.is_float64(dtype):
        large = text.filter(pc.greater_equal(pc.abs(numbers), float(EXACT[dtype])))
        if len(integers := large.filter(pc.match_substring_regex(large, "^-?[0-9]+$"))):
            raise pa.ArrowInvalid(_rounded(integers[0]))
    return numbers


def has_leading_zero(text: pa.Array) -> bool:
    """Whether a value is digits that as a number would lose a zero in front, such as 007."""
    return bool(pc.any(_leading_zero(text)).as_py())


def is_list(dtype: pa.DataType) -> bool:
    return (
        pa.types.is_list(dtype)
        or pa.types.is_large_list(dtype)
        or pa.types.is_fixed_size_list(dtype)
        or pa.types.is_list_view(dtype)
        or pa.types.is_large_list_view(dtype)
    )


def is_number(dtype: pa.DataType) -> bool:
    """Whether it is a plain type of booleans, integers, floats or decimals."""
    return _rank(dtype) < 4


def _leading_zero(text: pa.Array) -> pa.Array:
    return pc.match_substring_regex(text, "^-?0[0-9]")


def _parse_loosely(text: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Parses true and false as 1 and 0, and 3.0 as an integer: pandas writes ids so, once one is missing."""
    integers = pa.types.is_int64(dtype)
    if integers:
        long = text.filter(pc.match_substring_regex(text, "^-?[0-9]{19,}$")).to_pylist()
        if beyond := [value for value in long if not -(2**63) <= int(value) < 2**63]:
            raise pa.ArrowInvalid(f"{beyond[0]} is beyond int64; set type: string")
    lower = pc.ascii_lower(text)
    truth = pc.if_else(pc.equal(lower, "true"), 1, pc.if_else(pc.equal(lower, "false"), 0, pa.scalar(None, pa.int64())))
    others = pc.if_else(pc.is_valid(truth), None, text)
    try:
        numbers = others.cast(pa.float64() if integers else dtype)
    except pa.ArrowInvalid as error:
        value = re.search(r"Failed to parse string: '(.*)' as a scalar", str(error), re.DOTALL)
        shown = value[1][:80] if value else " ".join(str(error).split())[:80]
        raise pa.ArrowInvalid(f"{shown} is no number; leave missing fields empty, or set type: string") from None
    return pc.coalesce(cast(truth, dtype), cast(numbers, dtype))


def _is_bytes(dtype: pa.DataType) -> bool:
    return (
        pa.types.is_string(dtype)
        or pa.types.is_large_string(dtype)
        or pa.types.is_string_view(dtype)
        or pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
        or pa.types.is_binary_view(dtype)
        or pa.types.is_fixed_size_binary(dtype)
    )


def _rank(dtype: pa.DataType) -> int:
    if pa.types.is_boolean(dtype):
        return 1
    if pa.types.is_integer(dtype):
        return 2
    return 3 if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype) else 4


def _text(array: pa.Array) -> pa.StringArray:
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        raise pa.ArrowInvalid(NOT_UTF_8) from None


def _lists(array: pa.Array, dtype: pa.DataType) -> pa.ListArray:
    lengths = pc.list_value_length(array)
    offsets = pc.cumulative_sum(
        pa.concat_arrays([pa.array([0], pa.int64()), pc.fill_null(lengths, 0).cast(pa.int64())])
    )
    values = cast(pc.list_flatten(array), dtype.value_type)  # Those of nulls are not among them.
    mask = pc.is_null(lengths) if lengths.null_count else None
    return pa.ListArray.from_arrays(offsets.cast(pa.int32()), values, type=dtype, mask=mask)


def _vectors(array: pa.Array, dtype: pa.FixedSizeListType) -> pa.FixedSizeListArray:
    """Lists of one length; a null stays one."""
    lengths = pc.list_value_length(array)
    known = lengths.is_valid().to_numpy(zero_copy_only=False)
    if len(wrong := lengths.filter(pc.not_equal(lengths, dtype.list_size))):
        raise pa.ArrowInvalid(
            f"a row has {wrong[0]} values, expected width {dtype.list_size}; write a null where there is no vector"
        )
    values = cast(pc.list_flatten(array), dtype.value_type)  # Those of nulls are not among them.
    if not known.all():
        place = (np.cumsum(known) - 1)[:, None] * dtype.list_size + np.arange(dtype.list_size)
        missing = np.repeat(~known, dtype.list_size)
        values = values.take(pa.array(place.ravel(), mask=missing))
    return pa.FixedSizeListArray.from_arrays(values, type=dtype, mask=pa.array(~known))


def _integers(array: pa.Array) -> pa.Array:
    if pa.types.is_floating(array.type):
        return _whole(array.cast(pa.float64()), array.type)
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:  # Decimals and unsigned integers.
        wrong = next(x for x in array.to_pylist() if x is not None and (x % 1 or not -(2**63) <= x < 2**63))
    if wrong % 1:
        raise pa.ArrowInvalid(_fraction(wrong))
    raise pa.ArrowInvalid(
        f"{wrong} is beyond int64; write such ids as text, or unsigned ones as int64 of the same bits (.view('int64'))"
    )


def _whole(x: pa.Array, written: pa.DataType) -> pa.Array:
    x = pc.if_else(pc.is_nan(x), None, x)
    bounds = pc.min_max(x)
    largest = max(abs(bounds[end].as_py() or 0.0) for end in ("min", "max"))
    if largest == float("inf"):
        raise pa.ArrowInvalid(f"{largest} is no integer; write a null for what is missing")
    if largest >= EXACT[written]:
        raise pa.ArrowInvalid(
            f"{largest:.0f} stands in a column of {written}, which rounds whole numbers from {EXACT[written]} on; "
            "write ids as int64 (with nulls: Int64 in pandas) or as text"
        )
    if len(fractions := x.filter(pc.not_equal(pc.floor(x), x))):
        raise pa.ArrowInvalid(_fraction(fractions[0].as_py()))
    return x.cast(pa.int64())


def _fraction(value: object) -> str:
    return (
        f"Float value {value} is a fraction, and the column is read as integers (ids); for a number such as a price "
        "use kind: quantile or kind: numeric; for an id write it as int64"
    )


def _exact(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.float64())
    except pa.ArrowInvalid:
        raise pa.ArrowInvalid(
            _rounded(next(x for x in array.to_pylist() if x is not None and abs(x) > 2**53))
        ) from None


def _rounded(value: object) -> str:
    return (
        f"{value} would be rounded as the float that other values of the column are; write it as one type in all files"
    )
