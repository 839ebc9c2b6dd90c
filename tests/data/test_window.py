"""Windows over the days, and the order, completeness and cost of the batches inside one."""

import itertools
import threading
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tfstable.data.log import DayLog
from tfstable.data.log_files import READ_ROWS
from tfstable.data.window import Batches, Window, windows
from tfstable.errors import InputError

FIRST = date(2025, 1, 1)
DAYS = [FIRST + timedelta(i) for i in range(7)]
ROWS, BATCH = 100, 8  # 13 batches a pass, the last of 4 rows.
KEY = (0, DAYS[0].toordinal())


def convert(table: pa.Table) -> dict:
    return {"x": table["x"].to_numpy(), "weight": np.ones(table.num_rows, np.float32)}


@pytest.fixture(scope="module")
def log(tmp_path_factory, write) -> DayLog:
    """100 rows, x = 0 to 99, in row groups of 7 in two Parquet files and whole in a CSV and a Feather file."""
    path = tmp_path_factory.mktemp("log")
    write(path / f"date={DAYS[0]}" / "a.parquet", {"x": range(30)}, row_group=7)
    write(path / f"date={DAYS[0]}" / "b.parquet", {"x": range(30, 60)}, row_group=7)
    write(path / f"date={DAYS[1]}" / "a.csv", {"x": range(60, 90)})
    write(path / f"date={DAYS[1]}" / "b.feather", {"x": range(90, 100)})
    return DayLog(path)


def make(log: DayLog, buffer_rows: int = 1000, batch_size: int = BATCH) -> Batches:
    units = [unit for day in log.days for unit in log.units(day)]
    return Batches(units, {"x": pa.int64()}, convert, batch_size=batch_size, buffer_rows=buffer_rows)


def order(batches) -> list[int]:
    """The rows of `batches` in order, padding left out."""
    return [int(x) for b in batches for x, w in zip(b["x"], b["weight"], strict=True) if w]


def rows(batches) -> list[list[int]]:
    return [batch["x"].tolist() for batch in batches]


# --- Windows.


def ends(found: list[Window]) -> list[int]:
    return [DAYS.index(window.last) + 1 for window in found]


@pytest.mark.parametrize(
    (
        "length",
        "stride",
        "expected",
    ),  # Of days 1 to 7; the first window ends at day `length`.
    [
        (1, 1, [1, 2, 3, 4, 5, 6, 7]),
        (3, 1, [3, 4, 5, 6, 7]),
        (3, 2, [3, 5, 7]),
        (2, 3, [2, 5]),
        (7, 1, [7]),
        (8, 1, []),
    ],
)
def test_windows_end_a_stride_apart(length, stride, expected):
    found = windows(DAYS, length, stride)
    assert ends(found) == expected
    for window in found:
        end = DAYS.index(window.last) + 1
        assert window.days == tuple(DAYS[end - length : end])
        assert window.next_days == tuple(DAYS[end : end + stride])  # Evaluated before any window trains on them.


@pytest.mark.parametrize(("length", "stride"), [(3, 1), (3, 2), (2, 3), (1, 1)])
def test_windows_go_on_after_the_last_one_trained(length, stride):
    everything = windows(DAYS, length, stride)
    for number, window in enumerate(everything):
        assert windows(DAYS, length, stride, after=window.last) == everything[number + 1 :]


def test_a_day_that_arrives_makes_one_more_window():
    before = windows(DAYS[:6], 3, 1)
    assert windows(DAYS, 3, 1, after=before[-1].last) == [Window(tuple(DAYS[4:]), (), DAYS[5])]


def test_days_removed_from_the_log_do_not_come_back():
    # Days 1 to 4 were deleted after the window that ended at day 5.
    assert ends(windows(DAYS[4:], 3, 1, after=DAYS[4])) == [6, 7]
    assert windows(DAYS[4:], 3, 1, after=DAYS[4])[1].days == tuple(DAYS[4:])
    # All days that were trained on are gone: a window holds what is left.
    assert [window.days for window in windows(DAYS[5:], 3, 1, after=DAYS[4])] == [(DAYS[5],), (DAYS[5], DAYS[6])]
    assert ends(windows(DAYS[5:], 3, 2, after=DAYS[4])) == [7]


def test_windows_over_skipped_gaps_count_days_that_are_there():
    days = [DAYS[0], DAYS[1], DAYS[4], DAYS[6]]
    assert [window.days for window in windows(days, 2, 1)] == [
        (DAYS[0], DAYS[1]),
        (DAYS[1], DAYS[4]),
        (DAYS[4], DAYS[6]),
    ]


# --- Batches.


@pytest.mark.parametrize("buffer_rows", [1, 8, 20, 48, 96, 100, 1000])
@pytest.mark.parametrize("key", [None, KEY])
def test_every_row_is_there_once_a_pass(log, buffer_rows, key):
    batches = list(make(log, buffer_rows).one_pass(key))
    assert len(batches) == make(log).steps == 13  # ceil(100 / 8)
    assert {batch["weight"].shape for batch in batches} == {(BATCH,)}
    assert [batch["weight"].sum() for batch in batches] == [8] * 12 + [4]  # 100 = 12 * 8 + 4.
    assert batches[-1]["weight"].tolist() == [1] * 4 + [0] * 4
    assert sorted(order(batches)) == list(range(ROWS))
    assert (order(batches) == list(range(ROWS))) == (key is None)


def test_padding_repeats_a_row_of_its_batch(log):
    last = list(make(log).one_pass(None))[-1]
    assert last["x"].tolist() == [96, 97, 98, 99, 96, 96, 96, 96]


def test_a_batch_larger_than_the_log(log):
    (batch,) = make(log, batch_size=256).one_pass(KEY)
    assert batch["weight"].sum() == ROWS
    assert sorted(order([batch])) == list(range(ROWS))


@pytest.mark.parametrize("buffer_rows", [8, 24, 1000])
def test_starting_at_a_batch_equals_dropping_those_before_it(log, buffer_rows):
    whole = rows(itertools.islice(make(log, buffer_rows).forever(KEY), 30))  # Two passes and four batches.
    for start in (0, 1, 2, 3, 5, 12, 13, 14, 25, 26, 29):
        assert rows(itertools.islice(make(log, buffer_rows).forever(KEY, start), 30 - start)) == whole[start:]


@pytest.mark.parametrize("buffer_rows", [24, 1000])
def test_the_order_is_a_function_of_seed_window_and_pass(log, buffer_rows):
    batches = make(log, buffer_rows)
    orders = {key: tuple(order(batches.one_pass(key))) for key in itertools.product((0, 1), (5, 6), (0, 1))}
    assert len(set(orders.values())) == len(orders)  # Each part of the key matters,
    assert tuple(order(make(log, buffer_rows).one_pass((0, 5, 1)))) == orders[0, 5, 1]  # and nothing else does.


def test_forever_shuffles_every_pass_anew(log):
    batches = list(itertools.islice(make(log).forever(KEY), 26))
    first, second = order(batches[:13]), order(batches[13:])
    assert first == order(make(log).one_pass((*KEY, 0)))
    assert second == order(make(log).one_pass((*KEY, 1)))
    assert first != second


def test_where_everything_fits_the_shuffle_is_a_full_one(log):
    # Any row may come first. A row's place, averaged over 400 passes, is (0 + 99) / 2 = 49.5 with a standard deviation
    # of sqrt((100^2 - 1) / 12 / 400) = 1.44: five of them are 7.2.
    places = np.zeros(ROWS)
    batches = make(log)
    for number in range(400):
        places[order(batches.one_pass((1, number)))] += np.arange(ROWS)
    np.testing.assert_allclose(places / 400, 49.5, atol=7.2)


def test_where_not_everything_fits_units_are_permuted_then_rows(log):
    batches = list(make(log, buffer_rows=16).one_pass(KEY))
    buffers = [order(batches[i : i + 2]) for i in range(0, 12, 2)]
    units = [set(range(7 * i, 7 * i + 7)) for i in range(4)]  # Some of the row groups of the first file.
    # Not the log's order: the first buffer is not the first 16 rows, but it is made of few units, mixed.
    assert set(buffers[0]) != set(range(16))
    assert all(buffer != sorted(buffer) for buffer in buffers)
    whole_units = [unit for unit in units for buffer in buffers if unit <= set(buffer)]
    assert whole_units  # A row group of 7 cut by buffers of 16 rows at most once: most stay together.


def test_the_same_rows_from_parquet_csv_and_feather(tmp_path, write):
    seen = {}
    for suffix in ("parquet", "csv", "feather"):
        for number, day in enumerate(DAYS[:2]):
            table = {"x": np.arange(50 * number, 50 * number + 50)}
            write(tmp_path / suffix / f"date={day}" / f"a.{suffix}", table)
        log = DayLog(tmp_path / suffix)
        seen[suffix] = [rows(make(log, buffer).one_pass(KEY)) for buffer in (24, 1000)]
    assert seen["parquet"] == seen["csv"] == seen["feather"]


def test_a_batch_may_be_written_to(log):
    batches = make(log)
    for batch in batches.one_pass(None):
        batch["x"][:] = -1
        batch["weight"][:] = 0
    assert order(batches.one_pass(None)) == list(range(ROWS))  # The buffer, kept between passes, is as it was.


def test_one_buffer_is_read_once_for_all_passes(log):
    units = [unit for day in log.days for unit in log.units(day)]
    converted = []

    def counted(table):
        converted.append(table.num_rows)
        return convert(table)

    for buffer_rows, expected in ((1000, [100]), (56, [56, 44, 56, 44])):
        converted.clear()
        batches = Batches(units, {"x": pa.int64()}, counted, batch_size=BATCH, buffer_rows=buffer_rows)
        list(batches.one_pass((1,)))
        list(batches.one_pass((2,)))
        assert converted == expected


@pytest.mark.parametrize("unit_rows", [10_000, 1_200_000])
def test_memory_is_bounded_by_the_buffer_not_by_the_log(unit_rows, tmp_path, write):
    # 1.2 million rows of 32 bytes, 38 MB, in small row groups and in large ones, through a buffer of 20,000 rows.
    total, buffer_rows, width = 1_200_000, 20_000, 32
    columns = {name: np.arange(total) for name in "xyz"} | {"w": np.ones(total)}
    write(tmp_path / f"date={DAYS[0]}" / "a.parquet", columns, row_group=unit_rows)
    units = DayLog(tmp_path).units(DAYS[0])
    held = []

    def watch(table):
        held.append((table.num_rows, pa.total_allocated_bytes() - before))
        return convert(table)

    before = pa.total_allocated_bytes()
    types = {"x": pa.int64(), "y": pa.int64(), "z": pa.int64(), "w": pa.float32()}
    batches = Batches(units, types, watch, batch_size=1000, buffer_rows=buffer_rows)
    stream = batches.one_pass(KEY)
    assert len(list(itertools.islice(stream, 200))) == 200  # Ten buffers.
    stream.close()
    assert {count for count, _ in held} == {buffer_rows}
    # Beside the two buffers a few record batches are on their way: 10 MB, of a log of 38.
    assert max(size for _, size in held) < width * (2 * buffer_rows + 4 * READ_ROWS)


def test_a_stream_that_is_left_early_leaves_no_thread(log):
    before = threading.active_count()
    stream = make(log, buffer_rows=8).forever(KEY)
    next(stream)
    next(stream)
    assert threading.active_count() > before  # The next buffer is read on a thread of its own.
    stream.close()
    assert threading.active_count() == before
    for _ in make(log, buffer_rows=8).one_pass(KEY):
        break  # Dropped without being closed.
    assert threading.active_count() == before


def test_an_error_while_reading_comes_out_at_its_batch(tmp_path, write):
    write(tmp_path / f"date={DAYS[0]}" / "a.parquet", {"x": [1.0] * 16})
    path = write(tmp_path / f"date={DAYS[1]}" / "b.parquet", {"x": [1.0, 0.5]})
    before, stream = threading.active_count(), make(DayLog(tmp_path), buffer_rows=8).one_pass(None)
    next(stream)
    with pytest.raises(InputError, match=f"{path}: column x: Float value 0.5"):
        list(stream)
    assert threading.active_count() == before
