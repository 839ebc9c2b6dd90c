"""CSV files of a log: plain or compressed, whatever their separator, their types a guess from their first rows.

Everything is read as it stands, and only an empty field is missing: what a served request calls "NA" or "007" is the
same text in training. `types.cast` makes numbers of it where numbers are wanted.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from tfstable.data.types import NOT_UTF_8, UNREADABLE, field_type, has_leading_zero

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
SEPARATORS = ",;\t|"
BLOCK_BYTES = 1 << 20  # Parsed at a time; the first is what the guess looks at.
HEADER_BYTES = 1 << 20


def schema(path: Path) -> pa.Schema:
    """Returns the columns of a file with the types that its first megabyte looks like (see `guess`).

    Raises:
        pa.ArrowInvalid, OSError: If the file cannot be read.
    """
    names, separator = _header(path)
    first = next(_open(path, separator, names, all_columns=True), None)
    types = [pa.null()] * len(names) if first is None else [guess(column) for column in first.columns]
    unreadable = {UNREADABLE: NOT_UTF_8}
    return pa.schema(
        [
            pa.field(name, dtype, metadata=unreadable if dtype == pa.binary() else None)
            for name, dtype in zip(names, types, strict=True)
        ]
    )


def batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Streams columns of a file as they stand, bytes, a null for each empty field.

    Raises:
        InputError: If a column is not there once.
        pa.ArrowInvalid, OSError: If the file cannot be read.
    """
    names, separator = _header(path)
    for column in columns:
        field_type(pa.schema([(name, pa.null()) for name in names]), column, path)
    return _open(path, separator, [name for name in names if name in columns])


def count_rows(path: Path) -> int:
    """Returns the number of rows.

    Raises:
        pa.ArrowInvalid, OSError: If the file cannot be read.
    """
    names, separator = _header(path)
    return sum(batch.num_rows for batch in _open(path, separator, names[:1]))


def guess(column: pa.Array) -> pa.DataType:
    """Returns what the values of a column of bytes look like.

    Null where all are empty; int64; float64; boolean (true, false); string; binary where they are not UTF-8. Digits
    that an integer would not hold, 007 or twenty of them, are text.
    """
    if column.null_count == len(column):
        return pa.null()
    try:
        text = column.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.binary()
    if has_leading_zero(text):
        return pa.string()
    digits = pc.all(pc.match_substring_regex(text, "^-?[0-9]+$")).as_py()
    for dtype in (pa.int64(),) if digits else (pa.float64(), pa.bool_()):
        try:
            text.cast(dtype)
            return dtype
        except pa.ArrowInvalid:
            continue
    return pa.string()


def _header(path: Path) -> tuple[list[str], str]:
    """The names of the columns, and the separator: that of `SEPARATORS` which cuts the header into the most names."""
    with _stream(path) as stream:
        head = stream.read(HEADER_BYTES)
    line = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].removesuffix(b"\r")
    try:
        line = line.decode()
    except UnicodeDecodeError:
        raise pa.ArrowInvalid(f"the header is {NOT_UTF_8}") from None
    cut = {separator: next(csv.reader([line], delimiter=separator), []) for separator in SEPARATORS}
    separator = max(SEPARATORS, key=lambda separator: len(cut[separator]))
    return cut[separator], separator


def _stream(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression=COMPRESSED.get(path.suffix.lower()))


def _open(path: Path, separator: str, columns: Sequence[str], all_columns: bool = False) -> Iterator[pa.RecordBatch]:
    return pacsv.open_csv(
        _stream(path),
        read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),  # Which would not know a bad line.
        parse_options=pacsv.ParseOptions(delimiter=separator),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.binary()),
            include_columns=None if all_columns else list(dict.fromkeys(columns)),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
