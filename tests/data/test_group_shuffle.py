"""An order by groups: a whole permutation, a function of its key, that cuts a group only where it must."""

import itertools
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from tfstable.data.group_shuffle import GroupShuffle, number_by_part
from tfstable.data.log import DayLog
from tfstable.data.window import Batches

KEY, OTHER = (0, 738000, 1, 0), (1, 738000, 1, 0)  # Another seed; the same window, pass and buffer.
BATCH, PART = 64, 8


def of_sizes(sizes, seed: int = 0) -> np.ndarray:
    """Groups of these sizes, whose rows lie anywhere."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def pieces(order: np.ndarray, groups: np.ndarray, part: int = PART) -> np.ndarray:
    """In how many parts each group lies, `(groups,)`."""
    seen = np.unique(np.stack([groups[order], np.arange(len(order)) // part]), axis=1)[0]
    return np.bincount(seen, minlength=groups.max() + 1)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_every_row_is_there_once_and_the_key_alone_decides(rows):
    groups = np.random.default_rng(0).integers(-1, 100, rows)
    order = GroupShuffle().rows(KEY, rows, BATCH, groups)
    assert sorted(order) == list(range(rows))
    np.testing.assert_array_equal(order, GroupShuffle().rows(KEY, rows, BATCH, groups))
    if rows == 1000:
        assert list(order) != list(GroupShuffle().rows(OTHER, rows, BATCH, groups))
        assert list(order) != list(GroupShuffle().rows((*KEY[:2], 2, 0), rows, BATCH, groups))  # Another pass.


@pytest.mark.parametrize("seed", range(3))
def test_hardly_a_group_is_cut_where_smaller_ones_fill_the_gaps(seed):
    groups = of_sizes(np.random.default_rng(seed).integers(1, PART // 2 + 1, 2000))
    assert (pieces(GroupShuffle().rows(KEY, len(groups), BATCH, groups), groups) > 1).sum() <= 2  # At the end, if any.


def test_only_as_many_are_cut_as_must_be():
    groups = of_sizes([5] * 800)  # Eight groups fill five parts of 8 rows, with four borders inside groups.
    assert (pieces(GroupShuffle().rows(KEY, len(groups), BATCH, groups), groups) > 1).sum() == 400
    groups = of_sizes([20, *[1] * 100])
    assert pieces(GroupShuffle().rows(KEY, len(groups), BATCH, groups), groups)[0] in (3, 4)  # 20 rows in parts of 8.


def test_rows_without_a_group_are_by_themselves():
    groups = np.full(4096, -1)
    orders = [GroupShuffle().rows((seed,), 4096, BATCH, groups) for seed in range(3)]
    steps = np.abs(np.diff(np.stack(orders), axis=1)).mean()
    assert 0.9 < steps / (4096 / 3) < 1.1  # The mean distance of two random rows is a third of all.


def test_groups_come_in_any_order_and_so_do_their_rows():
    groups = of_sizes([4] * 16)
    first = [int(GroupShuffle().rows((seed,), 64, BATCH, groups)[0]) for seed in range(800)]
    of_group = np.bincount(groups[first], minlength=16)
    assert of_group.min() > 15  # 50 of each are expected, five standard deviations are 35.
    assert of_group.max() < 85
    assert len(set(first)) == 64  # Any row may be the first of its group; that one never is has a chance of 2e-4.


@pytest.mark.parametrize(("batch", "parts", "room"), [(64, 8, 8), (64, 1, 64), (60, 8, 15), (7, 8, 7)])
def test_a_batch_that_the_parts_do_not_divide_has_fewer(batch, parts, room):
    groups = of_sizes([room] * 40)
    order = GroupShuffle(parts).rows(KEY, len(groups), batch, groups)
    assert pieces(order, groups, room).max() == 1


def test_without_groups_it_is_an_error():
    with pytest.raises(ValueError, match="give the reader a column, group="):
        GroupShuffle().rows(KEY, 10, BATCH)


def test_numbers_differ_from_part_to_part():
    assert number_by_part(np.array([3, 3, 3, -1]), 2).tolist() == [6, 6, 7, -1]


# --- Batches.


@pytest.fixture(scope="module")
def log(tmp_path_factory, write) -> DayLog:
    """400 rows of 100 groups, and 12 rows without one, in row groups of 50."""
    path = tmp_path_factory.mktemp("log")
    groups = np.concatenate([of_sizes([4] * 100), np.full(12, -1)])
    write(path / "date=2025-01-01" / "a.parquet", {"x": np.arange(412), "group": groups}, row_group=50)
    return DayLog(path)


def make(log: DayLog, buffer_rows: int) -> Batches:
    def convert(table: pa.Table) -> dict:
        columns = {name: table[name].to_numpy() for name in ("x", "group")}
        return columns | {"weight": np.ones(table.num_rows, np.float32)}

    types = {"x": pa.int64(), "group": pa.int64()}
    units = log.units(date(2025, 1, 1))
    return Batches(units, types, convert, batch_size=BATCH, buffer_rows=buffer_rows, shuffle=GroupShuffle())


@pytest.mark.parametrize("buffer_rows", [1000, 128])
def test_batches_are_whole_and_number_their_groups(buffer_rows, log):
    batches = list(make(log, buffer_rows).one_pass((0,)))
    assert [batch["weight"].sum() for batch in batches] == [64] * 6 + [28]
    assert sorted(int(x) for b in batches for x, w in zip(b["x"], b["weight"], strict=True) if w) == list(range(412))
    assert (batches[-1]["group"][28:] == -1).all()  # Copies that fill up the last batch.
    for batch in batches:
        in_part = {(number, place // PART) for place, number in enumerate(batch["group"]) if number >= 0}
        assert len({number for number, _ in in_part}) == len(in_part)  # A number lies within one part.
    assert sum((batch["group"] == -1).sum() for batch in batches) == 12 + 36
    if buffer_rows == 1000:
        sizes = [count for b in batches for count in np.unique(b["group"][b["group"] >= 0], return_counts=True)[1]]
        assert sizes == [4] * 100


@pytest.mark.parametrize("buffer_rows", [1000, 128])
def test_starting_at_a_batch_equals_dropping_those_before_it(buffer_rows, log):
    def rows(batches) -> list:
        return [(batch["x"].tolist(), batch["group"].tolist()) for batch in batches]

    whole = rows(itertools.islice(make(log, buffer_rows).forever((3,)), 16))
    for start in (1, 5, 7, 11):
        assert rows(itertools.islice(make(log, buffer_rows).forever((3,), start), 16 - start)) == whole[start:]
