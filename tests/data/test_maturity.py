"""Which labels of a delayed task a window uses: each once, in the order in which they become complete."""

from collections import Counter
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tfstable.data.maturity import is_mature, labels_used
from tfstable.data.window import windows
from tfstable.specs import BinaryTask

FIRST = date(2025, 1, 1)


def tasks(**maturing: int | None) -> dict[str, BinaryTask]:
    return {name: BinaryTask(kind="binary", matures_after_days=days) for name, days in maturing.items()}


def test_a_window_reads_older_days_again_for_the_late_task_alone():
    days = [FIRST + timedelta(i) for i in range(6)]
    (window,) = windows(days, 1, 1, after=days[3])[:1]
    assert labels_used(window, tasks(click=None, buy=2), days).tasks_of == {days[2]: ["buy"], days[4]: ["click"]}


@given(
    days=st.sets(st.integers(0, 30), min_size=5).map(lambda numbers: [FIRST + timedelta(n) for n in sorted(numbers)]),
    maturing=st.integers(1, 12),
    length=st.integers(1, 4),
    stride=st.integers(1, 3),
)
def test_every_label_is_used_once_it_is_complete(days, maturing, length, stride):
    spec = tasks(click=None, buy=maturing)
    used = Counter()
    for window in windows(days, length, stride):
        read = labels_used(window, spec, days).tasks_of
        assert list(read) == sorted(read)
        assert set(window.days) <= read.keys()
        assert [day for day, names in read.items() if "click" in names] == list(window.days)
        for day, names in read.items():
            if "buy" in names:
                assert is_mature(spec["buy"], day, window.last)
                used[day] += 1
    found = windows(days, length, stride)
    assert used.keys() == {day for day in days if found and is_mature(spec["buy"], day, found[-1].last)}
    if length == 1:
        assert set(used.values()) <= {1}
