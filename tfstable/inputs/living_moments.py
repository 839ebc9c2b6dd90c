"""The moments of numeric features over the windows of a log, for training that reads ahead."""

import threading
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa

from tfstable.data.columns import arrow_types
from tfstable.data.log import DayLog, read
from tfstable.data.window import Window, windows
from tfstable.inputs.statistics import Statistics, fit
from tfstable.log_columns import single_columns
from tfstable.specs import Feature, NumericFeature


class Fitted(NamedTuple):
    """The moments with which a window trains.

    Attributes:
        statistics: The run's statistics, with these moments.
        windows: Windows that have trained with them.
    """

    statistics: Statistics
    windows: int


class LivingMoments:
    """The moments before and after each window: a function of the log's days up to its last one.

    The first window's moments are those of the first fit. Each n windows a window trains with the moments of its own
    days. A missing value keeps its place: it stands for the mean of the first fit. A feature without variation in the
    days keeps its moments, and so does one whose `moments` are given.

    Several threads may ask, one perhaps for a window that the other has left behind. So nothing is forgotten: moments
    are a few numbers a window.

    Args:
        log: The log.
        features: Feature specs by name.
        statistics: The first fit.
        every: n; None: the moments stay.
        length, stride: Of the windows, in days.
    """

    def __init__(
        self,
        log: DayLog,
        features: dict[str, Feature],
        statistics: Statistics,
        every: int | None,
        length: int,
        stride: int,
    ):
        self._log, self._first, self._every, self._length, self._stride = log, statistics, every, length, stride
        self._features: dict[str, Feature] = {
            name: feature
            for name, feature in features.items()
            if isinstance(feature, NumericFeature) and feature.standardise and not feature.moments
        }
        wanted = set(single_columns(self._features).values())
        self._columns = {name: column for name, column in statistics.columns.items() if name in wanted}
        self._lock = threading.Lock()
        self._before: dict[date, Fitted] = {}
        self._after = {date.min: Fitted(statistics, 0)}

    def before(self, window: Window) -> Fitted:
        """Returns the moments with which a window trains.

        Raises:
            InputError: If a day of the log cannot be read.
        """
        with self._lock:
            if window.last not in self._before:
                start = max(last for last in self._after if last < window.last)
                last = None if start == date.min else start
                days: Sequence[date] = [*self._log.days, *self._log.held_out]
                for each in windows(days, self._length, self._stride, after=last):
                    if each.last <= window.last:
                        self._before[each.last] = self._next(each, self._after[start])
                        start = each.last
                        self._after[start] = self._trained(start)
            return self._before[window.last]

    def after(self, last: date | None) -> Fitted:
        """Returns the moments after the window that ends at `last`; None: before the first one."""
        with self._lock:
            return self._after[last or date.min]

    def stored(self, fitted: Fitted) -> dict[str, Any] | None:
        """Returns what a checkpoint keeps, plain JSON; None if there is nothing but the first fit."""
        if self._every is None and fitted.statistics is self._first:
            return None
        moments = {name: list(fitted.statistics.moments[name]) for name in self._features}
        return {"moments": moments, "windows": fitted.windows}

    def restore(self, last: date | None, inside: bool, stored: dict[str, Any] | None) -> Fitted:
        """Goes on from what a checkpoint has kept, and returns it.

        Args:
            last: Last day of the newest finished window; None: there is none.
            inside: Whether a part of the window after it is trained; the moments are then its own.
            stored: What `stored` returned.
        """
        with self._lock:
            fitted = Fitted(self._first, 0)
            if stored is not None:
                moments = {name: (mean, deviation) for name, (mean, deviation) in stored["moments"].items()}
                fitted = Fitted(self._with(moments), stored["windows"])
            self._before = {day: each for day, each in self._before.items() if day <= (last or date.min)}
            self._after = {day: each for day, each in self._after.items() if day < (last or date.min)}
            self._after[last or date.min] = fitted
            for begun in windows(self._log.days, self._length, self._stride, after=last)[:1] if inside else ():
                self._before[begun.last] = fitted
                self._after[begun.last] = self._trained(begun.last)
            return fitted

    def _trained(self, last: date) -> Fitted:
        before = self._before[last]
        return before._replace(windows=before.windows + 1)

    def _next(self, window: Window, last: Fitted) -> Fitted:
        if self._every is None or last.windows < self._every or not self._features:
            return last
        types = {n: pa.float64() if t == pa.float32() else t for n, t in arrow_types(self._columns).items()}
        units = [unit for day in window.days for unit in self._log.units(day)]
        batches = (pa.Table.from_batches([batch]) for batch in read(units, types))
        found = fit(self._features, {}, self._columns, batches).moments
        return Fitted(self._with({name: new for name, new in found.items() if new[1]}, last.statistics), 0)

    def _with(self, moments: dict[str, tuple[float, float]], earlier: Statistics | None = None) -> Statistics:
        earlier, first = earlier or self._first, self._first
        means = {name: mean for name, (mean, _) in first.moments.items() if name in self._features}
        changed = {"moments": {**earlier.moments, **moments}, "stand_ins": means}
        return first.model_copy(update=changed)
