"""Labels that are complete only days later: which of them a window uses.

The label of day d of a task that matures after m days is complete at the end of day d + m. The window that ends at day
L, after the one that ended at P, uses the labels of its own days up to L - m, and reads again the rows of the days
after P - m and up to L - m, for that task alone. So every label is used, in the order in which labels become complete.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from tfstable.data.window import Window
from tfstable.specs import TaskSpec


def is_mature(task: TaskSpec, day: date, now: date) -> bool:
    """Returns whether the labels of the rows of `day` are complete at the end of day `now`."""
    return now - day >= timedelta(task.matures_after_days or 0)


def labels_used(window: Window, tasks: Mapping[str, TaskSpec], days: Iterable[date]) -> dict[date, list[str]]:
    """Returns the days that a window reads, in order, and the tasks whose labels it uses of each.

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
    return used


def longest(tasks: Mapping[str, TaskSpec]) -> int:
    """Returns the most days that labels of a task take to mature."""
    return max((task.matures_after_days or 0 for task in tasks.values()), default=0)


def _is_used(task: TaskSpec, day: date, window: Window, own: bool) -> bool:
    if not is_mature(task, day, window.last):
        return False
    new = window.after is not None and not is_mature(task, day, window.after)
    return own or (new and task.matures_after_days is not None)
