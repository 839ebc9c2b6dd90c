"""Raw columns: maps Arrow types to the three types that training and the exported signature share.

int64 for integers and booleans, float32 for numbers, string for text; lists become rows of a fixed width. A null
becomes the missing value of its type (`specs.MISSING_INT`, NaN, ""), a vector that is missing NaN in every element.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import pyarrow as pa

from tfstable.data.log import DayLog
from tfstable.data.log_files import extremes, first_rows, is_csv
from tfstable.data.types import CODED_TEXT, cast, field_type, fits, is_list, is_number, widest
from tfstable.errors import InputError
from tfstable.log_columns import columns_read, single_columns, stated_types
from tfstable.specs import (
    MISSING_INT,
    Categorical,
    CounterFeature,
    Feature,
    HashFeature,
    QuantileFeature,
    Spec,
    VectorFeature,
)

MISSING = {"int64": MISSING_INT, "float32": float("nan"), "string": ""}
ARROW = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}
RAW = {"int": "int64", "float": "float32", "string": "string"}  # A feature's `type` as a raw dtype.


class RawColumn(Spec):
    """A column as the signature takes it: `(batch,)` of `dtype`, or `(batch, width)` for lists.

    Attributes:
        dtype: Type of the values.
        width: Values per row; None: one, not in a list.
        keep: Which values of a list longer than `width` stay.
        vector: Whether each row has `width` values or none. Else a longer list is cut and a shorter one padded.
    """

    dtype: Literal["int64", "float32", "string"]
    width: int | None = None
    keep: Literal["first", "last"] = "last"
    vector: bool = False


def raw_columns(features: dict[str, Feature], schemas: dict[Path, pa.Schema]) -> dict[str, RawColumn]:
    """Returns the raw column of each feature, wide enough for every file of the log.

    Args:
        features: Feature specs by name.
        schemas: Schemas of all the log's files, by path. Files may differ, CSV above all, because its types are guessed
            from its rows: an id column is integer without nulls and float with them.

    Raises:
        InputError: If a column is missing or of a type that its feature cannot take.
    """
    column_of = single_columns(features)
    stated = {column: (key, dtype) for key, column, dtype in stated_types(features)}
    ids = {
        column for name, column in columns_read(features) if isinstance(features[name], Categorical | CounterFeature)
    }
    delimited = {column_of[name] for name, f in features.items() if isinstance(f, Categorical) and f.delimiter}
    columns: dict[str, RawColumn] = {}
    for name, column in columns_read(features):
        feature = features[name]
        types = {path: field_type(schema, column, path) for path, schema in schemas.items()}
        arrow_type, csv = _common_type(types), all(is_csv(path) for path in types)
        where = next((path for path, dtype in types.items() if widest([dtype]) == arrow_type), next(iter(types)))
        if column in stated:
            _check_stated(*stated[column], column, column in ids, types)
            if not is_list(arrow_type):
                arrow_type = ARROW[RAW[stated[column][1]]]
        elif csv and (column in delimited or (column in ids and pa.bool_() in types.values())):
            arrow_type = pa.string()
        if isinstance(feature, VectorFeature):
            columns[column] = _vector_column(name, feature, column, arrow_type, where, columns.get(column))
        else:
            columns[column] = _raw_column(name, feature, column, arrow_type, where, columns.get(column))
    return columns


def check_schemas(
    log: DayLog, day: date, columns: dict[str, RawColumn], numbers: Sequence[str] = (), groups: Sequence[str] = ()
) -> None:
    """Checks that every file of `day` can be read as the given columns.

    It reads metadata only: schemas, for Parquet also the minimum and maximum of ids, for CSV the first rows.

    Args:
        log: The log.
        day: A day of it.
        columns: Feature columns by name.
        numbers: Columns that must be numbers: labels, weights, true probabilities.
        groups: Columns whose values group the rows.

    Raises:
        InputError: Naming file and column, if a column is missing or its values do not fit.
    """
    schemas = log.schemas(day)
    wanted = dict.fromkeys(numbers, pa.float32()) | arrow_types(columns)
    wanted = {name: group_type(schemas, name) for name in groups} | wanted
    for path, schema in schemas.items():
        for name, dtype in wanted.items():
            found = field_type(schema, name, path)
            same_kind = fits(found, dtype)
            if same_kind and (other := _other_width(schema.field(name).type, dtype)):
                raise InputError(f"{path}: column {name} has vectors of width {other}, expected {dtype.list_size}")
            if is_csv(path) and not is_list(dtype):
                unlike = pa.types.is_string(found) or (_kind(found) == "float32" and pa.types.is_int64(dtype))
                reason = _misfit(first_rows(path, name), dtype) if unlike else None
            else:
                reason = _misfit_of_extremes(path, name, found, dtype) if same_kind else "write it with that type"
            if reason and not same_kind:
                expected = "numbers (a label or weight)" if name in numbers else _shown(dtype)
                raise InputError(f"{path}: column {name} has type {found}, expected {expected}; {reason}")
            if reason:
                raise InputError(f"{path}: column {name}: {reason}")


def group_type(schemas: dict[Path, pa.Schema], column: str) -> pa.DataType:
    """Returns the type to read a group column (users, requests) as: int64 for numbers, string for text.

    Args:
        schemas: Schemas of the files to read, by path.
        column: The column.

    Raises:
        InputError: If a file lacks the column, or it holds lists or other nested values.
    """
    types = {path: field_type(schema, column, path) for path, schema in schemas.items()}
    for path, dtype in types.items():
        if pa.types.is_nested(dtype):
            raise InputError(
                f"{path}: column {column} holds {dtype}, which cannot group rows; name a column with one value per row"
            )
    dtype = widest(types.values())
    return pa.int64() if is_number(dtype) else pa.string() if pa.types.is_null(dtype) else dtype


def arrow_types(columns: dict[str, RawColumn], coded_text: bool = False) -> dict[str, pa.DataType]:
    """Returns the type to read each column as; with `coded_text`, text outside lists is dictionary-encoded."""
    types = {name: ARROW[column.dtype] for name, column in columns.items()}
    return {
        name: pa.list_(dtype, columns[name].width if columns[name].vector else -1)
        if columns[name].width is not None
        else CODED_TEXT
        if coded_text and dtype == pa.string()
        else dtype
        for name, dtype in types.items()
    }


def _raw_column(
    name: str, feature: Feature, column: str, dtype: pa.DataType, where: Path, known: RawColumn | None
) -> RawColumn:
    """The raw column of a feature that reads `column`, `dtype` in file `where`; `known`: from an earlier feature."""
    categorical = isinstance(feature, Categorical | CounterFeature)
    several, refused = is_list(dtype), f"{where}: column {column} has type {dtype}"
    if several and isinstance(feature, HashFeature) and feature.columns:
        raise InputError(f"{refused}, which features.{name}.columns cannot take; name columns of one value per row")
    value = dtype.value_type if several else dtype
    if pa.types.is_null(value):
        if is_csv(where):
            key = f"types.{column}" if isinstance(feature, CounterFeature) else "type"
            crossed = isinstance(feature, HashFeature) and feature.columns
            remedy = "write Parquet files" if crossed else f"set features.{name}.{key}"
            raise InputError(
                f"{where}: column {column} is empty in the first rows of every file; {remedy} or drop the feature"
            )
        raise InputError(f"{where}: column {column} is null in every row of the log; drop features.{name}")
    if pa.types.is_temporal(value):
        raise InputError(
            f"{refused}, which features.{name} ({feature.kind}) cannot take; write numbers, such as the hour, the "
            "weekday or the age in days"
        )
    kind, delimiter = _kind(value), getattr(feature, "delimiter", None)
    if delimiter and not several and kind not in ("string", None):
        raise InputError(f"{refused}; features.{name}.delimiter needs text")
    if kind not in (("int64", "float32", "string") if categorical else ("int64", "float32")) or (
        several and (not isinstance(feature, Categorical | QuantileFeature) or delimiter)
    ):
        hint = f", or set features.{name}.type: float if it is numbers" if is_csv(where) and not categorical else ""
        raise InputError(
            f"{refused}, which features.{name} ({feature.kind}) cannot take; change its kind or the column{hint}"
        )
    if categorical and kind == "float32":
        kind = "int64"  # pandas stores ids with nulls as floats. A fraction is an error when it is read.
    width, keep = None, "last"
    if several and isinstance(feature, Categorical | QuantileFeature):
        width, keep = feature.max_values, feature.keep
    if known is not None and known.vector:
        raise InputError(f"features.{name}: column {column} is the vector of another feature; drop one of the two")
    if known is not None:
        if width is not None and known.keep != keep:
            raise InputError(
                f"features.{name}.keep is {keep}, but another feature of column {column} keeps the {known.keep} "
                "values; make them equal"
            )
        width = max(width, known.width or 0) if width is not None else None
        kind = known.dtype if known.dtype == "int64" else kind
    return RawColumn(dtype=kind, width=width, keep=keep)


def _vector_column(
    name: str, feature: VectorFeature, column: str, dtype: pa.DataType, where: Path, known: RawColumn | None
) -> RawColumn:
    """The raw column of a feature of vectors; see `_raw_column`."""
    if not is_list(dtype) or not (is_number(dtype.value_type) or pa.types.is_null(dtype.value_type)):
        raise InputError(
            f"{where}: column {column} has type {dtype}, which features.{name} (vector) cannot take; write lists of "
            "floats, into Parquet or Feather files"
        )
    found = RawColumn(dtype="float32", width=feature.width, vector=True)
    if known not in (None, found):
        raise InputError(
            f"features.{name}: column {column} is also read by a feature of another kind or width; drop one"
        )
    return found


def _other_width(dtype: pa.DataType, wanted: pa.DataType) -> int | None:
    """The width of vectors, where the type states one and it is not what is wanted."""
    if pa.types.is_fixed_size_list(wanted) and pa.types.is_fixed_size_list(dtype):
        return dtype.list_size if dtype.list_size != wanted.list_size else None
    return None


def _check_stated(key: str, stated: str, column: str, ids: bool, types: dict[Path, pa.DataType]) -> None:
    """Raises if a typed file (not CSV) gives a column another type than the `type` stated at `key`."""
    taken = {"string": ("string",), "int": ("int64", "float32") if ids else ("int64",), "float": ("int64", "float32")}
    for path, dtype in types.items():
        if not is_csv(path) and not _is_null(dtype) and _kind(getattr(dtype, "value_type", dtype)) not in taken[stated]:
            raise InputError(
                f"{path}: column {column} has type {dtype}, but {key} is {stated}; drop the key (it is for CSV), or "
                "write the column with that type"
            )


def _misfit_of_extremes(path: Path, column: str, found: pa.DataType, wanted: pa.DataType) -> str | None:
    """Why ids in floats, decimals or unsigned integers do not fit int64, judged by the file's metadata."""
    if is_list(wanted):
        found, wanted = getattr(found, "value_type", found), wanted.value_type
    if pa.types.is_int64(wanted) and (pa.types.is_uint64(found) or _kind(found) == "float32"):
        return _misfit(pa.array(extremes(path, column), found), wanted)
    return None


def _misfit(values: pa.Array, wanted: pa.DataType) -> str | None:
    """Why `values` do not fit into `wanted`; None if they do."""
    try:
        cast(values, wanted)
    except pa.ArrowInvalid as error:
        return " ".join(str(error).split())[:300]
    return None


def _shown(dtype: pa.DataType) -> str:
    return f"list of {dtype.value_type}" if is_list(dtype) else str(dtype)


def _common_type(types: dict[Path, pa.DataType]) -> pa.DataType:
    """The type of a column over all files. Only CSV may mix numbers and text, and reads both as text."""
    known = [dtype for dtype in types.values() if not _is_null(dtype)]
    if known and not all(is_csv(path) for path in types):
        # Typed files: the first file's type counts, and `check_schemas` reports the files that differ.
        known = [dtype for dtype in known if _form(dtype) == _form(known[0])]
    return widest(known or types.values())


def _form(dtype: pa.DataType) -> tuple[bool, str | None]:
    kind = _kind(dtype.value_type if is_list(dtype) else dtype)
    return is_list(dtype), "number" if kind in ("int64", "float32") else kind


def _is_null(dtype: pa.DataType) -> bool:
    return pa.types.is_null(dtype.value_type if is_list(dtype) else dtype)


def _kind(dtype: pa.DataType) -> str | None:
    """The raw dtype of a plain type."""
    if pa.types.is_integer(dtype) or pa.types.is_boolean(dtype):
        return "int64"
    if is_number(dtype):
        return "float32"
    return "string" if pa.types.is_string(dtype) else None
