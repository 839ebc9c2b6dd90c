"""Measures tasks on days whose labels have become complete, by the predictions of that time."""

from dataclasses import replace
from datetime import date

import numpy as np

from tfstable.data.log import DayLog
from tfstable.data.maturity import is_mature
from tfstable.log_columns import fresh_labels
from tfstable.specs import TaskSpec
from trainers.config import Config
from trainers.health.verdict import judge
from trainers.report.console import Report
from trainers.store.late_predictions import LatePredictions
from trainers.store.run_directory import RunDirectory
from trainers.store.window_record import Metrics
from trainers.training.evaluation import evaluate


class LateLabels:
    """Keeps predictions, and measures them once the labels are complete: on the chief.

    A fault that shows so late blames no model of today: it is told, noted as odd, and keeps the export gate closed
    until a newer day is in line. Nothing is rolled back.

    Args:
        config: The run's config.
        log: The log.
        run: The run's directory.
        report: What the user sees.
    """

    def __init__(self, config: Config, log: DayLog, run: RunDirectory, report: Report):
        self._config, self._log, self._run, self._report = config, log, run, report
        self._late = {name: task for name, task in config.tasks.items() if task.matures_after_days}
        self._kept = LatePredictions(run.late)

    def keep(self, day: date, predictions: dict[str, np.ndarray], last: date) -> None:
        """Keeps predictions of a day that is about to be recorded as evaluated, of tasks that have been trained.

        Args:
            day: The day.
            predictions: `(rows,)` by task.
            last: Last day of the window that the model was trained on.
        """
        if self._late:
            first = self._run.first_day()
            trained = [name for name, task in self._late.items() if self._is_trained(task, first, last)]
            self._kept.save(day, {name: predictions[name] for name in trained})

    def _is_trained(self, task: TaskSpec, first: date, last: date) -> bool:
        known = self._config.init is not None or fresh_labels(task) is not None
        return known or is_mature(task, first, last)  # Else no label has been complete yet.

    def measure(self, last: date) -> None:
        """Measures what has become complete by the end of day `last`, and adds it to the records of its days.

        If the process is killed in between, the next call does it again with the same result.
        """
        for day in self._kept.days() if self._late else []:
            ready = [name for name, task in self._late.items() if is_mature(task, day, last)]
            if not ready:
                continue
            kept = self._kept.load(day)
            if reason := self._why_lost(day, kept):
                self._run.add_event("late_labels_lost", day=day, tasks=ready, reason=reason)
                self._report.found(f"day {day}: {', '.join(ready)} cannot be measured any more: {reason}")
            else:
                self._note(day, last, evaluate(self._config, self._log, day, {n: kept[n] for n in ready}, now=last))
            self._kept.save(day, {name: values for name, values in kept.items() if name not in ready})

    def _why_lost(self, day: date, kept: dict[str, np.ndarray]) -> str | None:
        if day not in self._log.days:
            return "the day is gone from the log"
        if not kept:
            return "the file of the predictions is damaged"
        changed = any(len(predictions) != self._log.rows(day) for predictions in kept.values())
        return "the day has other rows than when it was predicted" if changed else None

    def _note(self, day: date, last: date, found: Metrics) -> None:
        record = next((r for r in self._run.windows() if day in r.evaluations), None)
        if record is None:
            return
        since = self._config.evaluation.compare_since
        verdict = judge(day, found, self._run.evaluations(), self._run.odd_days(), since=since)
        lines = {task: [line] for task, line in verdict.labels.items()}
        for fault in verdict.faults:
            for task in found if fault.task is None else [fault.task]:
                lines.setdefault(task, []).append(fault.line)
        before = record.odd.get(day, {})
        odd = {**before, **{task: list(dict.fromkeys([*before.get(task, ()), *lines[task]])) for task in lines}}
        if day == record.eval_day:
            record = replace(record, tasks={**(record.tasks or {}), **found})
        else:
            record = replace(record, later_days={**record.later_days, day: {**record.later_days[day], **found}})
        newest = self._run.newest()
        self._run.write_window(replace(record, odd={**record.odd, day: odd} if odd else record.odd))
        if newest is not None and newest.last != record.last:
            self._run.write_window(newest)  # Again the run's metrics.json.
        if lines:
            reasons = [line for of_task in lines.values() for line in of_task]
            self._run.add_event("late_fault", window_end=last, day=day, reasons=reasons)
            self._report.found(f"day {day}, whose labels are complete now: {'; '.join(reasons)}. Training continues")
