"""Windows, the days of a log and batches, for any days, files, sizes and orders."""

import math
import tempfile
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfstable.data.log import DayLog
from tfstable.data.shuffle import BlockShuffle, FullShuffle, SwapShuffle
from tfstable.data.window import Batches, windows
from tfstable.errors import InputError

DAY = date(2025, 1, 1)
DAYS = st.lists(st.integers(0, 40), min_size=1, max_size=15, unique=True).map(
    lambda numbers: [DAY + timedelta(number) for number in sorted(numbers)]
)


@given(DAYS, st.integers(1, 6), st.integers(1, 6))
def test_every_day_is_evaluated_once_and_before_it_is_trained(days, length, stride):
    found = windows(days, length, stride)
    assert len(found) == max(0, 1 + (len(days) - length) // stride)
    evaluated: list[date] = []
    for number, window in enumerate(found):
        end = length + number * stride
        assert window.days == tuple(days[end - length : end])
        new = [day for day in window.days if number and day > found[number - 1].last]
        assert set(new) <= set(evaluated)
        evaluated += window.next_days
    if found:
        assert evaluated == days[length : len(days)][: len(found) * stride]


@given(DAYS, st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_log_that_grows_day_by_day_has_the_windows_of_the_whole_one(days, length, stride, data):
    known = data.draw(st.integers(0, len(days)), "days of the first run")
    first = windows(days[:known], length, stride)
    rest = windows(days, length, stride, after=first[-1].last if first else None)
    assert [w.days for w in first + rest] == [w.days for w in windows(days, length, stride)]


@given(DAYS, st.data())
def test_the_first_gap_of_a_log_is_named_and_until_cuts_it(days, data):
    with tempfile.TemporaryDirectory() as place:
        for day in days:
            (Path(place) / f"date={day}").mkdir()
        until = data.draw(st.none() | st.integers(-1, 41).map(lambda number: DAY + timedelta(number)), "until")
        kept = [day for day in days if until is None or day <= until]
        if not kept:
            with pytest.raises(InputError, match=f"until: {until} is before the first day"):
                DayLog(place, "skip", until)
            return
        log = DayLog(place, "skip", until)
        assert (log.days, log.held_out) == (kept, days[len(kept) :])
        gaps = [pair for pair in pairwise(kept) if pair[1] - pair[0] > timedelta(1)]
        if gaps:
            with pytest.raises(InputError, match=f"no day between {gaps[0][0]} and {gaps[0][1]}"):
                DayLog(place, "error", until)
        else:
            assert DayLog(place, "error", until).days == kept


# --- Batches.


SHUFFLES = st.sampled_from([FullShuffle(), SwapShuffle()]) | st.integers(1, 30).map(BlockShuffle)
FILES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=4).filter(
    lambda files: any(rows for rows, _ in files)
)  # Rows of each file, and of its row groups.
KEYS = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 800_000), st.integers(0, 3))


def convert(table: pa.Table) -> dict[str, np.ndarray]:
    return {"x": table["x"].to_numpy(), "weight": np.ones(table.num_rows, np.float32)}


def batches_of(place: str, files: list[tuple[int, int]], batch_size: int, buffer_rows: int, shuffle) -> Batches:
    """Batches over files whose rows are numbered through."""
    first = 0
    for number, (rows, group) in enumerate(files):
        path = Path(place) / f"date={DAY}" / f"{number}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"x": np.arange(first, first + rows)}), path, row_group_size=group)
        first += rows
    units = DayLog(place).units(DAY)
    return Batches(units, {"x": pa.int64()}, convert, batch_size=batch_size, buffer_rows=buffer_rows, shuffle=shuffle)


def listed(batches) -> list[list[int]]:
    return [np.where(batch["weight"] > 0, batch["x"], -1).tolist() for batch in batches]


@settings(max_examples=60)
@given(
    FILES,
    st.integers(1, 9),
    st.integers(1, 80),
    SHUFFLES,
    KEYS,
    st.data(),
)
def test_every_row_comes_once_a_pass_in_an_order_that_the_key_alone_decides(
    files, batch_size, buffer_rows, shuffle, key, data
):
    rows = sum(rows for rows, _ in files)
    with tempfile.TemporaryDirectory() as place:
        batches = batches_of(place, files, batch_size, buffer_rows, shuffle)
        one = listed(batches.one_pass(key))
        assert len(one) == batches.steps == math.ceil(rows / batch_size)
        assert {len(batch) for batch in one} == {batch_size}
        assert sorted(x for batch in one for x in batch if x >= 0) == list(range(rows))
        assert [x for batch in listed(batches.one_pass(None)) for x in batch if x >= 0] == list(range(rows))
        # Another object, which begins anywhere, as a run does that was stopped there.
        again = batches_of(place, files, batch_size, buffer_rows, shuffle)
        start = data.draw(st.integers(0, len(one)), "start")
        assert listed(again.one_pass(key, start)) == one[start:]


@settings(max_examples=40)
@given(FILES, st.integers(1, 9), SHUFFLES, KEYS)
def test_where_all_rows_fit_into_the_buffer_files_and_row_groups_do_not_matter(files, batch_size, shuffle, key):
    rows = sum(rows for rows, _ in files)
    with tempfile.TemporaryDirectory() as cut, tempfile.TemporaryDirectory() as whole:
        several = batches_of(cut, files, batch_size, rows, shuffle)
        one = batches_of(whole, [(rows, rows)], batch_size, rows, shuffle)
        assert listed(several.one_pass(key)) == listed(one.one_pass(key))
