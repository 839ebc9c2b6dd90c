"""Labels that are complete only days later: which of them a window uses.

The label of day d of a task that matures after m days is complete at the end of day d + m. The window that ends at day
L, after the one that ended at P, uses the labels of its own days up to L - m, and reads again the rows of the days
after P - m and up to L - m, for that task alone. So every label is used, in the order in which labels become complete.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from tfstable.data.window import Window
from tfstable.log_columns import fresh_labels
from tfstable.specs import TaskSpec


def is_mature(task: TaskSpec, day: date, now: date) -> bool:
    """Returns whether the labels of the rows of `day` are complete at the end of day `now`."""
    return now - day >= timedelta(task.matures_after_days or 0)


@dataclass(frozen=True)
class UsedLabels:
    """The days that a window reads, and the labels that it uses of them.

    Attributes:
        last: The last day of the window, at whose end the labels are looked at.
        tasks_of: By day, in order, the tasks whose labels are used.
    """

    last: date
    tasks_of: Mapping[date, Sequence[str]]


def labels_used(window: Window, tasks: Mapping[str, TaskSpec], days: Iterable[date]) -> UsedLabels:
    """Returns what a window reads. Tasks with `fresh` labels use those of the window's own days, too.

    Args:
        window: The window.
        tasks: Task specs by name.
        days: The days of the log.
    """
    own = set(window.days)
    used = {}
    for day in days:
        if day > window.last:
            continue
        of_day = [name for name, task in tasks.items() if _is_used(task, day, window, day in own)]
        if of_day or day in own:
            used[day] = of_day
    return UsedLabels(window.last, used)


def longest(tasks: Mapping[str, TaskSpec]) -> int:
    """Returns the most days that labels of a task take to mature."""
    return max((task.matures_after_days or 0 for task in tasks.values()), default=0)


def _is_used(task: TaskSpec, day: date, window: Window, own: bool) -> bool:
    if not is_mature(task, day, window.last):
        return own and fresh_labels(task) is not None
    new = window.after is not None and not is_mature(task, day, window.after)
    return own or (new and task.matures_after_days is not None)
