"""Publishing a run's model: a version becomes visible once its reloaded copy predicts a day as the trainer does."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np

from tfstable import export
from tfstable.data.columns import raw_batches
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.features import Preprocessor
from tfstable.models import RankingModel
from tfstable.statistics import Statistics
from trainers.report import Report
from trainers.run_directory import RunDirectory

EXPORT_TOLERANCE = 1e-5  # Of a reloaded prediction, absolute up to 1 and relative above.


class Publisher:
    """Turns a trained model into versions under MODEL_DIR/export.

    Args:
        run: The run's directory.
        log: The log.
        model: The model.
        preprocessor: What it was trained behind.
        statistics: The statistics that `preprocessor` was made with.
        predict: The trainer's own predictions for every row of a day, by task.
        report: What the user sees.
        weight: The log's column of example weights, if there is one.
    """

    def __init__(
        self,
        run: RunDirectory,
        log: DayLog,
        model: RankingModel,
        preprocessor: Preprocessor,
        statistics: Statistics,
        predict: Callable[[date], dict[str, np.ndarray]],
        report: Report,
        weight: str | None = None,
    ):
        self._run, self._log, self._model, self._report = run, log, model, report
        self._preprocessor, self._statistics, self._predict = preprocessor, statistics, predict
        self._weight = weight

    def day_to_compare(self, last: date) -> date | None:
        """Returns the day over which `publish` will compare predictions; None if it will find `last` published."""
        if self._published(last) is not None:
            return None
        later = [day for day in self._log.days if day > last]
        return later[0] if later else last

    def publish(self, last: date) -> Path:
        """Publishes the model trained through day `last`, once a window; returns its version."""
        day = self.day_to_compare(last)
        if day is None:
            return self._published(last)
        columns = {name: column.model_dump() for name, column in self._statistics.columns.items()}
        # What an export alone can be judged by: `tfstable compare`.
        tasks = {name: {"kind": t.kind, "label": t.label or name} for name, t in self._model.task_specs.items()}
        judged_by = {"tasks": tasks, "weight": self._weight}
        partial = export.save(
            self._run.exports,
            self._model,
            self._preprocessor,
            {"window_end": str(last), "columns": columns, **judged_by},
        )
        difference = self._difference(export.Serving(partial), day)
        if not difference <= EXPORT_TOLERANCE:
            self._run.add_event("export_refused", window_end=last, day=day, difference=difference)
            raise InputError(
                f"{partial}: the reloaded model predicts {day} differently by {difference:.2g}; not published"
            )
        version = export.publish(partial)
        self._report.exported(version, day, difference)
        return version

    def _published(self, last: date) -> Path | None:
        if published := export.versions(self._run.exports):
            newest = self._run.exports / str(published[-1])
            if export.metadata(newest)["window_end"] == str(last):
                return newest
        return None

    def _difference(self, serving: export.Serving, day: date) -> float:
        """Returns the largest difference of the served predictions from the trainer's over a whole day."""
        served = [serving(raw) for raw in raw_batches(self._log.units(day), self._statistics.columns)]
        worst = 0.0
        for name, expected in self._predict(day).items():
            got = np.concatenate([part[name] for part in served])
            worst = np.maximum(worst, np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected))))
        return float(worst)  # NaN where a prediction is not finite; np.maximum passes it on.
