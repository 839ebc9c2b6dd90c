"""Evaluates the days after a window with the model that has not seen them, and judges the model by them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from tfstable.data.log import DayLog
from tfstable.data.window import Window
from trainers.config import Config
from trainers.health.loss_watch import Batch
from trainers.health.recoveries import Diverged
from trainers.health.verdict import Fault, Verdict, judge
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.store.window_record import Metrics
from trainers.training.evaluation import evaluate
from trainers.training.infinite_values import InfiniteValues
from trainers.training.late_labels import LateLabels
from trainers.training.recover import Recovery
from trainers.training.state import RunState


@dataclass(frozen=True)
class Judged:
    """The chief's judgement of a day.

    Attributes:
        tasks: The day's metrics by task.
        verdict: The judgement that they give.
    """

    tasks: Metrics
    verdict: Verdict


class Judge:
    """Evaluates each next day and judges the model by it.

    Args:
        config: The run's config.
        log: The log.
        run: The run's directory.
        state: The model.
        recovery: Notes which models are good.
        infinite: Reports infinite numbers in the rows.
        report: What the user sees.
    """

    def __init__(
        self,
        config: Config,
        log: DayLog,
        run: RunDirectory,
        state: RunState,
        recovery: Recovery,
        infinite: InfiniteValues,
        report: Report,
    ):
        self._config, self._log, self._run, self._state = config, log, run, state
        self._recovery, self._infinite, self._report = recovery, infinite, report
        self._late = LateLabels(config, log, run, report)

    def look(self, last: date, next_days: tuple[date, ...]) -> None:
        """Evaluates the next days that the record of the window ending at `last` does not have yet.

        Raises:
            Diverged: If the metrics show a diverged model; they are not kept.
        """
        began, agreement = time.monotonic(), self._state.agreement
        agreement.decide(lambda: self._late.measure(last))
        pending = agreement.decide(lambda: self._pending(last, next_days))
        found: dict[date, Metrics] = {}
        odd: dict[date, dict[str, list[str]]] = {}
        predicted: dict[date, dict[str, np.ndarray]] = {}
        for day in map(date.fromisoformat, pending):
            predicted[day], logits = self._state.predict_both(day)
            if not self._state.position.batch:
                self._state.calibration.add(day, logits, agreement)
            judged = self._evaluate(day, predicted[day], self._state.watch.jumped)
            self._infinite.tell(self._state.reader.checks.infinite())
            found[day] = judged.tasks
            if faults := self._judge(last, day, judged):
                odd[day] = faults
        if found:
            agreement.decide(lambda: self._note(last, found, odd, predicted, time.monotonic() - began))

    def calibrate(self, window: Window) -> None:
        """Fits the maps of the calibrated tasks before a window trains, unless a part of it is trained.

        Days that an earlier start of the run evaluated are predicted again, by the same model.
        """
        state, agreement = self._state, self._state.agreement
        if not state.calibration.tasks or state.position.batch:
            return
        for day, tasks in state.calibration.days_of(window).items():
            if state.calibration.lacks(day, tasks):
                state.calibration.add(day, state.predict_both(day)[1], agreement, late=True)
        state.calibration.follow(window, agreement.decide(self._run.odd_days), agreement)

    def before_calibration(self, last: date, predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns what the gate judges: predictions for the last day by maps that were not fitted to its labels."""
        if not self._state.calibration.tasks:
            return predictions
        with self._state.calibration.earlier():
            return self._state.predict(last)

    def _pending(self, last: date, next_days: tuple[date, ...]) -> list[str]:
        record = self._run.window(last)  # None: trained by a version that kept no records.
        return [str(day) for day in next_days if record is not None and day not in record.evaluations]

    def _evaluate(
        self, day: date, predictions: dict[str, np.ndarray], jumped: bool = False, detailed: bool = True
    ) -> Judged:
        """Measures a day's predictions; the chief judges them."""

        def judged() -> list[Any]:
            tasks = evaluate(self._config, self._log, day, predictions, now=day, detailed=detailed)
            evaluations, since = self._run.evaluations(), self._config.evaluation.compare_since
            verdict = judge(day, tasks, evaluations, self._run.odd_days(), since=since, jumped=jumped)
            return [tasks, verdict.labels, verdict.faults, verdict.labelled]

        tasks, labels, faults, labelled = self._state.agreement.decide(judged)
        return Judged(tasks, Verdict(labels, [Fault(*fault) for fault in faults], labelled))

    def _judge(self, last: date, day: date, judged: Judged) -> dict[str, list[str]]:
        """Judges the model by a next day: raises Diverged, or marks its checkpoint as good.

        An odd day must not count as a bad model. Odd labels say nothing about the model. If the metrics look bad, the
        newest model known to be good is evaluated on the day too; if it breaks the same rules, the day is reported as
        odd and training continues.

        Returns:
            The faults of the day, by task.
        """
        verdict, state = judged.verdict, self._state
        odd = {task: [fault] for task, fault in verdict.labels.items()}
        if odd:
            lines = list(verdict.labels.values())
            self._run.add_event("odd_labels", window_end=last, day=day, reasons=lines)
            self._report.found(f"{'; '.join(lines)}: look at the log. Training continues")
        if not verdict.faults:
            if verdict.labelled:
                self._recovery.in_line(last)
            return odd

        def checkpoints() -> list[int]:
            assert state.saved is not None  # The window is trained, so the chief has saved its model.
            return [state.saved.number, state.checkpoints.known_good().number]

        this, good = state.agreement.decide(checkpoints)
        lines = [fault.line for fault in verdict.faults]
        figures = {"window_end": last, "day": day, "rules": lines}
        if good != this:  # Else this model was in line on an earlier day, so the day is odd.
            state.restore(good)
            shared = {fault[:2] for fault in self._evaluate(day, state.predict(day), detailed=False).verdict.faults}
            state.restore(this)
            if any(fault[:2] not in shared for fault in verdict.faults):
                rules = f"{'; '.join(lines)}; checkpoint {good} does better"
                raise Diverged(f"the metrics of {day} show a diverged model ({rules})", None, Batch(last, 0), figures)
        self._run.add_event("odd_day", **figures)
        self._report.found(
            f"day {day} looks anomalous ({'; '.join(lines)}): an earlier healthy model fails on it too. "
            "Training continues"
        )
        for fault in verdict.faults:
            for task in judged.tasks if fault.task is None else [fault.task]:
                odd.setdefault(task, []).append(fault.line)
        return odd

    def _note(
        self,
        last: date,
        found: Mapping[date, Metrics],
        odd: Mapping[date, dict[str, list[str]]],
        predicted: Mapping[date, dict[str, np.ndarray]],
        seconds: float,
    ) -> None:
        """Adds evaluated days to the record of a window, and keeps what labels that mature later will measure."""
        for day, predictions in predicted.items():
            self._late.keep(day, predictions, last)
        record, later = self._run.window(last), dict(found)
        assert record is not None  # `_pending` returns days only if there is one.
        if record.eval_day is None:
            first = next(iter(found))
            record = replace(record, eval_day=first, tasks=later.pop(first), evaluation_seconds=seconds)
        # With a stride of several days, each day is evaluated before the next window trains on it.
        record = replace(record, later_days={**record.later_days, **later}, odd={**record.odd, **odd})
        self._run.write_window(record)
        self._report.evaluated(record, self._state.iteration)
