"""Which ids get rows, and which lose them: against the rules in plain Python, and case by case."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfstable.data.window import Window
from tfstable.inputs.ids import IdMap, Rules
from tfstable.inputs.living_ids import Ids, read_maps, write

FIRST = date(2025, 1, 1)


def window(first: int, last: int) -> Window:
    return Window(tuple(FIRST + timedelta(n) for n in range(first, last + 1)), ())


def counted(ids: IdMap, day: int, rows: dict) -> IdMap:
    return ids.plus(
        FIRST + timedelta(day), pa.array(list(rows), ids.known.schema.field("id").type), np.array([*rows.values()])
    )


def mapped(ids: IdMap) -> dict:
    return dict(zip(ids.mapped()[0].to_pylist(), ids.mapped()[1].tolist(), strict=True))


class Plain:
    """The rules of `inputs.ids` on dicts."""

    def __init__(self, rules: Rules):
        self.rules, self.count, self.last, self.row = rules, {}, {}, {}

    def plus(self, day: int, rows: dict) -> None:
        for value, count in rows.items():
            self.count[value] = self.count.get(value, 0) + count
            self.last[value] = day

    def give(self, first: int) -> tuple[dict, int, int]:
        def tie(value) -> int:
            return int(pd.util.hash_array(np.array([value], object if isinstance(value, str) else np.int64))[0])

        seen = [value for value in self.count if self.last[value] >= first]
        wanted = [value for value in seen if value not in self.row and self.count[value] >= self.rules.min_count]
        wanted.sort(key=lambda v: (-self.count[v], -self.last[v], tie(v)))
        taken = 0
        if self.rules.takes:
            others = sorted(set(self.row) - set(seen), key=lambda v: (self.last[v], self.count[v], tie(v)))
            lack = max(0, len(wanted) - (self.rules.capacity - len(self.row)))
            for value in others[:lack]:
                del self.row[value]
                taken += 1
        free = sorted(set(range(1, self.rules.capacity + 1)) - set(self.row.values()))
        new = dict(zip(wanted, free, strict=False))
        self.row |= new
        return new, taken, len(wanted) - len(new)

    def expire(self, last: int) -> None:
        for value in [
            v for v in self.count if self.rules.expire_days and self.last[v] <= last - self.rules.expire_days
        ]:
            del self.count[value], self.last[value]
            self.row.pop(value, None)


rules = st.builds(
    Rules, st.integers(1, 8), st.integers(1, 3), st.one_of(st.none(), st.integers(1, 4)), takes=st.booleans()
)
days = st.lists(st.dictionaries(st.integers(-3, 12), st.integers(1, 3), max_size=8), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(rules=rules, days=days, length=st.integers(1, 3), text=st.booleans())
def test_the_map_after_each_window_is_that_of_the_rules(rules, days, length, text):
    ids, plain = IdMap.none("string" if text else "int64"), Plain(rules)
    for day, rows in enumerate(days):
        rows = {f"v{value}": count for value, count in rows.items()} if text else rows
        ids, first = counted(ids, day, rows), max(0, day + 1 - length)
        plain.plus(day, rows)
        ids, given = ids.given(window(first, day), rules)
        new, taken, waiting = plain.give(first)
        assert dict(zip(given.ids.to_pylist(), given.rows.tolist(), strict=True)) == new
        assert (given.taken, given.waiting) == (taken, waiting)
        assert mapped(ids) == plain.row
        ids = ids.expired(FIRST + timedelta(day), rules)
        plain.expire(day)
        assert mapped(ids) == plain.row
        assert set(ids.known["id"].to_pylist()) == set(plain.count)


def test_an_id_is_forgotten_after_as_many_days_and_comes_back_as_a_new_one():
    rules = Rules(capacity=5, min_count=2, expire_days=3, takes=True)
    ids, _ = counted(IdMap.none("int64"), 0, {7: 2}).given(window(0, 0), rules)
    assert mapped(ids.expired(FIRST + timedelta(2), rules)) == {7: 1}
    gone = ids.expired(FIRST + timedelta(3), rules)
    assert mapped(gone) == {}
    back, given = counted(gone, 4, {7: 1}).given(window(4, 4), rules)
    assert mapped(back) == {}  # Its rows count anew.
    assert not len(given.rows)


def test_a_full_table_takes_the_rows_of_those_not_seen_for_longest_but_of_none_that_the_window_has():
    rules = Rules(capacity=2, min_count=1, expire_days=None, takes=True)
    ids, _ = counted(IdMap.none("string"), 0, {"old": 9}).given(window(0, 0), rules)
    ids, _ = counted(ids, 1, {"newer": 1}).given(window(1, 1), rules)
    ids, given = counted(ids, 2, {"a": 1, "b": 2, "newer": 1}).given(window(2, 2), rules)
    assert mapped(ids) == {"newer": 2, "b": 1}
    assert (given.taken, given.waiting) == (1, 1)


def test_maps_are_read_as_they_were_written(tmp_path):
    numbers = counted(IdMap.none("int64"), 0, {-(2**63) + 1: 1, 5: 2})
    numbers, _ = numbers.given(window(0, 0), Rules(1, 1, None, takes=True))
    text = counted(IdMap.none("string"), 0, {"é": 1})
    maps, dtypes = {"number": numbers, "text": text, "none": IdMap.none("string")}, ("int64", "string", "string")
    now = {"number": IdMap.none("int64"), "text": text, "none": text}
    for later in (now, None):
        write(tmp_path / "ids.parquet", Ids(maps), Ids(later) if later else None)
        before, found = read_maps(tmp_path / "ids.parquet", dict(zip(maps, dtypes, strict=True)))
        assert (found is None) == (later is None)
        for expected, read in ((maps, before), *([(later, found)] if later else [])):
            for table, ids in expected.items():
                assert read.maps[table].known.equals(ids.known), table


@pytest.mark.parametrize("order", [1, -1])
def test_equal_ids_are_told_apart_by_their_hash_alone(order):
    rows = dict.fromkeys([*range(50)][::order], 1)
    ids, _ = counted(IdMap.none("int64"), 0, rows).given(window(0, 0), Rules(10, 1, None, takes=True))
    expected = np.argsort(pd.util.hash_array(np.arange(50)))[:10]
    assert mapped(ids) == dict(zip(expected.tolist(), range(1, 11), strict=True))
