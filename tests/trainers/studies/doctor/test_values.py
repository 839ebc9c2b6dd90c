"""Values of ids as hashes: the same value is the same in any column, layout and day; memory is bounded."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from tfstable.data.columns import RawColumn
from tfstable.inputs.ids import IdMap
from tfstable.inputs.statistics import Statistics
from tfstable.specs import MISSING_INT, HashFeature, VocabularyFeature
from trainers.studies.doctor import inputs
from trainers.studies.doctor.finding import span
from trainers.studies.doctor.inputs import Seen
from trainers.studies.doctor.tables import idle_share
from trainers.studies.doctor.values import Values, known_values, values

TODAY = date(2025, 1, 10)


@pytest.mark.parametrize(
    ("array", "delimiter", "same"),
    [
        (pa.array(["a", "b", "b", "", None]), None, ["a", "b", "b"]),
        (pa.array(["a", "b", "b", "", None]).dictionary_encode(), None, ["a", "b", "b"]),
        (pa.array(["a,b", "", None, "b"]), ",", ["a", "b", "b"]),
        (pa.array(["a,b", "b"]).dictionary_encode(), ",", ["a", "b", "b"]),
        (pa.array([["a", None], [], None, ["b", "b"]]), None, ["a", "b", "b"]),
        (pa.array([1, 2, 2, None, MISSING_INT]), None, [1, 2, 2]),
        (pa.array([[1], [2, 2]]), None, [1, 2, 2]),
    ],
    ids=["text", "coded", "split", "split-coded", "lists", "integers", "lists-of-integers"],
)
def test_values_are_counted_without_the_missing_ones(array, delimiter, same):
    found, expected = values([array], delimiter), values([pa.array(same)], None)
    np.testing.assert_array_equal(found.hashes, expected.hashes)
    assert sorted(found.counts) == [1, 2]
    assert (found.counts == expected.counts).all()


def test_combinations_are_values_and_need_all_columns():
    users, tabs = pa.array([1, 1, 2, 2, None]), pa.array(["x", "x", "x", None, "x"])
    found = values([users, tabs], None)
    assert sorted(found.counts) == [1, 2]
    assert not np.isin(found.hashes, values([pa.array([1, 2])], None).hashes).any()


def test_what_has_a_row():
    statistics = Statistics(columns={"city": RawColumn(dtype="string")}, vocabularies={"city": ["Oslo", "Rome"]})
    vocabulary, hashed = VocabularyFeature(kind="vocabulary"), HashFeature(kind="hash", buckets=5)
    known = known_values("city", vocabulary, statistics, {})
    np.testing.assert_array_equal(known, values([pa.array(["Rome", "Oslo"])], None).hashes)
    assert known_values("city", hashed, statistics, {}) is None
    ids = IdMap.none("string").plus(TODAY, pa.array(["Rome", "Bonn"]), np.ones(2))
    given = ids._with_rows(np.array([1, 0]))
    known = known_values("city", vocabulary, statistics, {"city": given})
    assert len(known) == 1
    assert known[0] in values([pa.array(["Rome", "Bonn"])], None).hashes


def some(*ids: int, count: int = 1) -> Values:
    return values([pa.array(np.repeat(ids, count))], None)


def test_new_is_what_no_day_before_had():
    seen = Seen()
    assert seen.add(date(2025, 1, 1), some(1, 2)) is None  # Nothing is known before.
    assert seen.add(date(2025, 1, 2), Values.of([some(2, count=6), some(3, count=2)])) == 0.25
    assert seen.add(date(2025, 1, 10), some(1, 3)) == 0.0
    assert idle_share(seen.last, 7, TODAY) == pytest.approx(1 / 3)  # The second id.
    assert idle_share(seen.last, 9, TODAY) == 0.0
    assert idle_share(np.zeros(0), 7, TODAY) is None


def test_of_too_many_ids_an_even_sample_is_remembered(monkeypatch):
    monkeypatch.setattr(inputs, "IDS", 500)
    seen = Seen()
    seen.add(date(2025, 1, 1), some(*range(4000)))
    assert len(seen.hashes) == 500
    assert seen.distinct == pytest.approx(4000, rel=0.1)
    share = seen.add(date(2025, 1, 2), some(*range(3000, 7000)))
    assert share == pytest.approx(0.75, abs=0.06)
    assert seen.distinct == pytest.approx(7000, rel=0.1)
    assert seen.add(date(2025, 1, 3), some(*range(7000))) == 0.0


def test_a_day_of_too_many_ids_is_a_sample_too(monkeypatch):
    seen = Seen()
    seen.add(date(2025, 1, 1), some(*range(4000)))
    monkeypatch.setattr("trainers.studies.doctor.values.IDS", 400)
    day = Values.of([some(*range(3000, 6000)), some(*range(5000, 7000))])
    assert len(day.hashes) == 400
    assert day.distinct == pytest.approx(4000, rel=0.15)
    assert seen.add(date(2025, 1, 2), day) == pytest.approx(0.8, abs=0.06)  # 5000 to 5999 came twice.
    assert seen.distinct == pytest.approx(7000, rel=0.15)


def test_a_span_is_the_newest_run_of_days():
    days = [date(2025, 1, day) for day in range(1, 7)]
    assert span(days, lambda day: day.day in (1, 3, 4)) == (days[2], days[3], False)
    assert span(days, lambda day: day.day in (1, 5, 6)) == (days[4], days[5], True)
    assert span(days, lambda day: False) is None
