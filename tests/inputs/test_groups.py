"""The groups of rows, as the shuffle and losses over lists read them: one number per value and day."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from tfstable.data.columns import raw_columns
from tfstable.data.group_shuffle import GroupShuffle
from tfstable.data.log import DayLog
from tfstable.data.types import CODED_TEXT
from tfstable.errors import InputError
from tfstable.inputs.groups import group_numbers
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader, Stream
from tfstable.inputs.statistics import Statistics
from tfstable.specs import GROUP, MISSING_INT, BinaryTask, HashFeature

DAYS = date(2025, 1, 1), date(2025, 1, 2)
FEATURES = {"user": HashFeature(kind="hash", buckets=10)}
TASKS = {"click": BinaryTask(kind="binary")}


@pytest.mark.parametrize(
    "values",
    [
        pa.array([7, 8, 7, None, MISSING_INT, 7]),
        pa.array(["a", "b", "a", None, "", "a"]),
        pa.array(["a", "b", "a", None, "", "a"]).cast(CODED_TEXT),
        pa.array([7.0, 8.0, 7.0, None, float("nan"), 7.0]),
    ],
    ids=lambda values: str(values.type),
)
def test_a_value_is_a_group_on_each_day(values):
    halves = pa.chunked_array([values[:3], values[3:]])
    first, second, third, *without, last = group_numbers(halves, np.array([5, 5, 5, 5, 5, 6]))
    assert first == third
    assert len({int(first), int(second), int(last)}) == 3
    assert min(first, second, last) >= 0
    assert without == [-1, -1]


def opened(path, group: str) -> ExampleReader:
    log = DayLog(path)
    columns = raw_columns(FEATURES, {p: schema for day in log.days for p, schema in log.schemas(day).items()})
    statistics = Statistics(columns=columns)
    return ExampleReader(log, Preprocessor(FEATURES, statistics), statistics, TASKS, group=group)


@pytest.mark.parametrize("group", ["user", "request"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_batches_hold_the_rows_of_a_group_together(suffix, group, tmp_path, write):
    rng = np.random.default_rng(0)
    for day in DAYS:
        users = rng.permutation(np.repeat([f"u{n}" for n in range(16)], 4))
        table = {"user": users, "request": [int(user[1:]) for user in users], "click": np.arange(64) % 2}
        write(tmp_path / f"date={day}" / f"a.{suffix}", table)
    reader = opened(tmp_path, group)
    batches = list(reader.batches(DAYS, 32, 1000, GroupShuffle(parts=4)).one_pass((0,)))
    assert len(batches) == 4
    for packed in batches:
        features, labels, _ = reader.layout.unpack(packed)
        assert labels[GROUP].dtype == np.int64
        assert (np.unique(labels[GROUP], return_counts=True)[1] == 4).all()  # No group is cut,
        for number in np.unique(labels[GROUP]):
            assert len(np.unique(features["user"][labels[GROUP] == number])) == 1  # and each is of one user.
    stream = Stream(batch for batch in batches)
    _, labels, _ = next(iter(reader.dataset(stream, 32, parts=2, own=range(1, 2))))
    assert labels[GROUP].dtype == "int64"
    np.testing.assert_array_equal(labels[GROUP], batches[0]["group"][16:])  # The second replica's part.


def test_lists_cannot_group(tmp_path, write):
    write(tmp_path / "date=2025-01-01" / "a.parquet", {"user": ["a"], "tags": [[1, 2]], "click": [1]})
    with pytest.raises(InputError, match=r"column tags holds list.*cannot group rows"):
        opened(tmp_path, "tags")
