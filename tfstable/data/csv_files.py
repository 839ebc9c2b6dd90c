"""CSV files of a log, plain or compressed; separator and types are guessed from the first rows.

Fields are read as text, and only an empty field is missing, so "NA" or "007" means the same in training and in a served
request. `types.cast` parses numbers where a column needs them.
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
BLOCK_BYTES = 1 << 20  # Bytes parsed at a time; types are guessed from the first block.
HEADER_BYTES = 1 << 20


def schema(path: Path) -> pa.Schema:
    """Returns the columns of a file with types guessed from its first megabyte (see `guess`).

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
    """Streams columns of a file as unparsed bytes, with a null per empty field.

    Raises:
        InputError: If a column is missing or occurs twice.
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
    """Guesses the type of a column of bytes.

    Null if all values are empty; int64; float64; boolean (true, false); string; binary if not UTF-8. Digits that int64
    cannot hold unchanged, such as 007 or twenty digits, are text.
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
    """The column names, and the separator: the one of `SEPARATORS` that splits the header into most names."""
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
        read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),  # Threads lose line numbers.
        parse_options=pacsv.ParseOptions(delimiter=separator),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.binary()),
            include_columns=None if all_columns else list(dict.fromkeys(columns)),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
