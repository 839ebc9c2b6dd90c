"""Calibration over the windows of a run: what is kept, and how the maps follow the days.

Before a window trains, its new days, which the model has predicted but not seen, join the histograms, and the maps are
fitted anew. So what the model trained on the window predicts of later days uses a map fitted through its last day.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.calibration import Histogram, Knots, fit
from tfstable.data.log import DayLog, read
from tfstable.data.window import Window
from tfstable.log_columns import outcome_columns
from tfstable.models import RankingModel
from tfstable.specs import TaskSpec
from trainers.config import Config
from trainers.devices.agreement import Agreement
from trainers.training.task_rows import task_rows

Histograms = Mapping[str, Histogram]  # By task.
Odd = Mapping[str, Mapping[str, Sequence[str]]]  # By day and task, the faults of the day.


class Calibration:
    """Histograms and maps of the calibrated tasks: on every worker the same.

    Args:
        config: The run's config.
        log: The log.
        model: The model, whose maps this sets.
        strategy: Whose scope it was made under.

    Attributes:
        tasks: The calibrated tasks.
    """

    def __init__(self, config: Config, log: DayLog, model: RankingModel, strategy: tf.distribute.Strategy):
        self._config, self._log, self._model, self._strategy = config, log, model, strategy
        self.tasks: Mapping[str, TaskSpec] = {n: task for n, task in config.tasks.items() if task.calibrate}
        self._clear()

    def _clear(self) -> None:
        self._through: date | None = None  # The last day whose rows may be in the histograms.
        self._histograms = {name: Histogram.empty() for name in self.tasks}
        self._earlier = {name: Knots.identity() for name in self.tasks}  # Before the last window's days joined.
        self._maps = {name: Knots.identity() for name in self.tasks}
        self._new: dict[date, dict[str, Histogram]] = {}  # Of days that the model at hand has not seen.

    def stored(self) -> dict[str, Any] | None:
        """Returns what a checkpoint keeps, plain JSON; None without a calibrated task."""
        if not self.tasks:
            return None
        tasks = {
            name: {
                "histogram": self._histograms[name].to_json(),
                "earlier": self._earlier[name].to_json(),
                "map": self._maps[name].to_json(),
            }
            for name in self.tasks
        }
        return {"through": self._through and str(self._through), "tasks": tasks}

    def restore(self, stored: Mapping[str, Any] | None, names: Mapping[str, str] | None = None) -> None:
        """Goes on from what `stored` returned; a task that is not there starts without data.

        Args:
            stored: It; None: nothing.
            names: Names of the tasks there by their names here; None: the same.
        """
        self._clear()
        if stored is not None:
            self._through = stored["through"] and date.fromisoformat(stored["through"])
            for name in self.tasks:
                if (kept := stored["tasks"].get(name if names is None else names.get(name))) is not None:
                    self._histograms[name] = Histogram.from_json(kept["histogram"])
                    self._earlier[name], self._maps[name] = (Knots.from_json(kept[key]) for key in ("earlier", "map"))
        self._show(self._maps)

    def add(self, day: date, logits: Mapping[str, np.ndarray], agreement: Agreement, late: bool = False) -> None:
        """Notes what the model at hand predicts of a day that it has not seen; the chief reads the labels.

        Args:
            day: The day.
            logits: `(rows,)` before calibration, by task.
            agreement: Between the workers.
            late: Whether the tasks whose labels mature later are ready, too.
        """
        tasks = [name for name, task in self.tasks.items() if late or not task.matures_after_days]
        if not tasks:
            return

        def found() -> dict[str, Any]:
            return {name: h.to_json() for name, h in self._histograms_of(day, {n: logits[n] for n in tasks}).items()}

        histograms = {name: Histogram.from_json(stored) for name, stored in agreement.decide(found).items()}
        self._new[day] = self._new.get(day, {}) | histograms

    def days_of(self, window: Window) -> dict[date, list[str]]:
        """Returns the days whose labels are new in a window, in order, and the tasks of which they are."""
        after = window.after or self._through  # A run that starts from another one goes on with its maps.
        if after is None:
            return {}  # No model has predicted them.
        found: dict[date, list[str]] = {}
        for day in self._log.days:
            for name, task in self.tasks.items():
                ready = day + timedelta(task.matures_after_days or 0)
                if after < ready <= window.last:
                    found.setdefault(day, []).append(name)
        return found

    def lacks(self, day: date, tasks: Sequence[str]) -> bool:
        """Returns whether `add` is still to be called for tasks on a day."""
        return not self._new.get(day, {}).keys() >= set(tasks)

    def follow(self, window: Window, odd: Odd, agreement: Agreement) -> None:
        """Lets the new days join the histograms, and fits the maps; the chief fits them.

        Args:
            window: The window that is about to be trained.
            odd: Odd days and tasks; they do not join.
            agreement: Between the workers.
        """
        last, days = window.last, self.days_of(window)
        for name, task in self.tasks.items():
            assert task.calibrate is not None  # Else it would not be among them.
            half_life = task.calibrate.half_life_days
            age = 0 if self._through is None else (last - self._through).days
            total = self._histograms[name].decayed(0.5 ** (age / half_life))
            for day, tasks in days.items():
                if name in tasks and name not in odd.get(str(day), {}):
                    age = (last - day).days - (task.matures_after_days or 0)
                    total += self._new[day][name].decayed(0.5 ** (age / half_life))
            self._histograms[name] = total

        def fitted() -> dict[str, Any]:
            return {
                name: fit(task, self._histograms[name], task.calibrate.knots).to_json()
                for name, task in self.tasks.items()
                if task.calibrate is not None
            }

        self._earlier = self._maps
        self._maps = {name: Knots.from_json(stored) for name, stored in agreement.decide(fitted).items()}
        self._through, self._new = last, {}
        self._show(self._maps)

    @contextmanager
    def earlier(self) -> Iterator[None]:
        """Has the model predict, for the code inside, by the maps from before the last window's days."""
        self._show(self._earlier)
        try:
            yield
        finally:
            self._show(self._maps)

    def _show(self, maps: Mapping[str, Knots]) -> None:
        with self._strategy.scope():
            for name, knots in maps.items():
                self._model.calibration[name].assign(knots.packed())

    def _histograms_of(self, day: date, logits: Mapping[str, np.ndarray]) -> Histograms:
        columns = dict.fromkeys(outcome_columns(self._config.tasks, self._config.data.weight), pa.float32())
        table = pa.Table.from_batches(read(self._log.units(day), columns))
        found = {}
        for name, values in logits.items():
            rows = task_rows(name, self.tasks[name], table, self._config.data.weight, day)
            found[name] = Histogram.of(self.tasks[name], values[rows.rows], rows.labels, rows.weights)
        return found
