"""Helpers for tests of logs on disk."""

from datetime import date

import pyarrow as pa
import pytest

from tfstable.data.log import DayLog, read
from tfstable.errors import InputError
from tfstable.specs import HashFeature

DAY = date(2025, 1, 1)


def hashed(**keys) -> HashFeature:
    return HashFeature(kind="hash", buckets=10, **keys)


def values(log: DayLog, column: str = "x", dtype: pa.DataType | None = None, start: int = 0) -> list:
    units = [unit for day in log.days for unit in log.units(day)]
    return [value for batch in read(units, {column: dtype}, start) for value in batch[column].to_pylist()]


def error(action) -> str:
    """The one line of the InputError that `action` raises."""
    with pytest.raises(InputError) as raised:
        action()
    assert "\n" not in str(raised.value)
    return str(raised.value)
