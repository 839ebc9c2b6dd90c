"""The counters of a log, day by day: read once, in the log's order, whatever is trained of it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from tfstable.data.arrays import numbers
from tfstable.data.log import DayLog, read
from tfstable.data.values import ValueChecks
from tfstable.inputs.counters import CounterTable, DayCounts, Sums, summands, table
from tfstable.log_columns import label_columns
from tfstable.specs import CounterFeature, TaskSpec

ONE_DAY = timedelta(1)


@dataclass(frozen=True)
class Counted:
    """The sums of all counters at the end of a calendar day.

    Attributes:
        day: The day.
        sums: By counter.
    """

    day: date
    sums: Mapping[str, Sums]


class CountedDays:
    """What the rows of each day see of the counters: a function of the log's days before it, and of nothing else.

    Several threads may ask. Memory holds, of each day since `forget`, the values of the keys and the day's own sums;
    an earlier day than those is counted again from the log's beginning, or from what `earlier` returns.

    Args:
        log: The log.
        counters: The counters by name.
        tasks: Task specs by name.
        weight: Column of example weights, or None.
        columns: The counters' columns, with the types to read them as.
        buckets: Returns each counter's buckets, `(rows,)`, for rows of the log.

    Attributes:
        earlier: Returns sums at the end of a given day or before, from which to go on; None where there are none.
        behind: Days before the first one asked for that may be asked for next.
    """

    def __init__(
        self,
        log: DayLog,
        counters: Mapping[str, CounterFeature],
        tasks: Mapping[str, TaskSpec],
        weight: str | None,
        columns: Mapping[str, pa.DataType],
        buckets: Callable[[pa.Table], Mapping[str, np.ndarray]],
    ):
        self._log, self._counters, self._weight, self._buckets = log, dict(counters), weight, buckets
        counted = dict.fromkeys(name for counter in counters.values() for name in counter.of)
        self._tasks = {name: tasks[name] for name in counted}
        self._labels = label_columns(self._tasks)
        outcomes = [*self._labels.values(), *([weight] if weight else [])]
        self._types = dict(columns) | dict.fromkeys(outcomes, pa.float32())
        self._check = ValueChecks({}, self._tasks, weight)
        self._longest = max(counter.delay_days for counter in counters.values())
        self._lock = threading.Lock()
        self.earlier: Callable[[date], Counted | None] = lambda day: None
        self.behind = 0
        self._tail: Counted | None = None  # Where counting can begin again.
        self._front: Counted  # As far as it has come. For every day from the one to the other, and of them alone:
        self._days: dict[date, dict[str, Sums]] = {}  # the day's own sums, and
        self._tables: dict[tuple[str, date], CounterTable] = {}  # what sees the sums, by the day of the rows.

    def tables(self, day: date) -> dict[str, CounterTable]:
        """Returns what rows of `day` see, by counter. The log need not have that day, nor a later one.

        Raises:
            InputError: If an earlier day of the log cannot be read.
        """
        with self._lock:
            self._count_for(day)
            return {name: self._tables[name, day] for name in self._counters}

    def forget(self, day: date) -> Counted:
        """Frees what only rows of days before `day` see, and returns the sums from which to count for it and after."""
        with self._lock:
            self._count_for(day)
            assert self._tail is not None
            while self._tail.day < day - ONE_DAY * (1 + self._longest):
                self._tail = self._next(self._tail)
                self._days.pop(self._tail.day, None)
            self._tables = {key: values for key, values in self._tables.items() if key[1] >= day}
            return self._tail

    def _count_for(self, day: date) -> None:
        first = day - ONE_DAY * (1 + self._longest)
        if self._tail is None or first < self._tail.day:
            self._begin_again(first)
        while any((name, day) not in self._tables for name in self._counters):
            self._front = self._next(self._front)
            self._keep_tables()

    def _begin_again(self, first: date) -> None:
        found = self.earlier(first)
        if found is None:
            first -= ONE_DAY * self.behind
            start = min(first, self._log.counted[0] - ONE_DAY)
            found = Counted(start, {name: Sums.none(counter) for name, counter in self._counters.items()})
            while found.day < first:
                found = self._next(found)
                self._days.pop(found.day, None)
        self._tail = self._front = found
        self._days = {day: sums for day, sums in self._days.items() if day > found.day}
        self._tables = {}
        self._keep_tables()

    def _next(self, counted: Counted) -> Counted:
        """One calendar day later."""
        day = counted.day + ONE_DAY
        sums = {name: counted.sums[name].decayed(counter) for name, counter in self._counters.items()}
        if day in self._log.counted:
            if day not in self._days:
                self._days[day] = self._count(day)
            sums = {name: sums[name].plus(of_day) for name, of_day in self._days[day].items()}
        return Counted(day, sums)

    def _keep_tables(self) -> None:
        for name, counter in self._counters.items():
            day = self._front.day + ONE_DAY * (1 + counter.delay_days)
            self._tables[name, day] = table(counter, self._tasks, self._front.sums[name])

    def _count(self, day: date) -> dict[str, Sums]:
        counts = {name: DayCounts(counter) for name, counter in self._counters.items()}
        for batch in read(self._log.units(day), self._types, check=self._check):
            rows = pa.Table.from_batches([batch])
            weight = np.ones(rows.num_rows)
            if self._weight:
                weight = np.nan_to_num(numbers(rows[self._weight]), nan=0.0)
            of_task = {
                name: summands(task, numbers(rows[self._labels[name]]), weight) for name, task in self._tasks.items()
            }
            for name, buckets in self._buckets(rows).items():
                every = [summand for task in self._counters[name].of for summand in of_task[task]]
                counts[name].add(buckets, every)
        return {name: of_day.sums() for name, of_day in counts.items()}
