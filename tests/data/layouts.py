"""Logs of one column as other programs write it, and what a model gets of it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tests.data.logs import DAY
from tfstable.data.arrays import distinct, raw_batches
from tfstable.data.columns import RawColumn, arrow_types, check_schemas
from tfstable.data.columns import raw_columns as found_columns
from tfstable.data.log import DayLog, read


def dictionary(values: pa.Array, index: pa.DataType) -> pa.DictionaryArray:
    coded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices.cast(index), coded.dictionary)


def write(path: Path, columns: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    pq.write_table(table, path) if path.suffix == ".parquet" else pyarrow.feather.write_feather(table, str(path))
    return path


def log_of(tmp_path: Path, array: pa.Array, suffix: str) -> DayLog:
    """A log whose column x is `array`; skips what pyarrow cannot write."""
    try:
        write(tmp_path / f"date={DAY}" / f"a.{suffix}", {"x": array})
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError):
        pytest.skip("pyarrow writes no such file")
    return DayLog(tmp_path)


def columns_of(log: DayLog, feature) -> dict[str, RawColumn]:
    columns = found_columns({"x": feature}, log.schemas(DAY))
    check_schemas(log, DAY, columns)
    return columns


def inputs(log: DayLog, feature) -> tuple[RawColumn, list]:
    """Column x as a served request has it, which training reads alike."""
    columns = columns_of(log, feature)
    (raw,) = raw_batches(log.units(DAY), columns)
    for batch in read(log.units(DAY), arrow_types(columns, coded_text=True)):
        if columns["x"].dtype == "string":
            values, places = distinct(pa.Table.from_batches([batch])["x"], "x", columns["x"])
            assert values[places].tolist() == raw["x"].tolist()
    return columns["x"], raw["x"].tolist()
