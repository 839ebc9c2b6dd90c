"""Rules on the tasks: their labels, their heads, their calibration."""

from collections.abc import Iterator
from datetime import date

import numpy as np

from tfstable.data.maturity import is_mature
from tfstable.specs import BinaryTask, labelled
from trainers.health.labels import CHANCE, chance_of_count, chance_of_split
from trainers.studies.doctor.examine import Examination
from trainers.studies.doctor.finding import Finding, since, span
from trainers.studies.doctor.input_rules import LEAST

# Factor by which a label's rate changes from the days before. Healthy rates stay within 1.5; training itself reports
# odd labels only at a factor of 10.
JUMP = 2.0
# Distance of a regression's mean label, in standard deviations of the days before: healthy ones stay within 0.1.
SHIFT = 0.5
EARLIER = 10  # Days that a day's labels are compared with.
# Evaluated days whose predictions and labels are added up for the calibration: one day may be odd.
CALIBRATED_DAYS = 3


def task_findings(e: Examination) -> Iterator[Finding]:
    """Yields the findings of all tasks."""
    for task in labelled(e.config.tasks):
        yield from _labels(e, task)
        yield from list(_head(e, task)) or _calibration(e, task)  # What is not trained is not calibrated either.


def _labels(e: Examination, task: str) -> Iterator[Finding]:
    key, facts, is_binary = f"tasks.{task}", e.labels[task], isinstance(e.config.tasks[task], BinaryTask)
    column = e.config.tasks[task].label or task
    complete = [day for day in facts if is_mature(e.config.tasks[task], day, max(facts))]
    days = [day for day in complete if e.rows[day] >= LEAST]

    def before(day: date) -> list[date]:
        return [d for d in days if d < day and facts[d].labels and facts[d].deviation][-EARLIER:]

    def is_constant(day: date) -> bool:
        now, earlier = facts[day], before(day)
        if now.labels < LEAST or now.deviation or not (is_binary and earlier):
            return now.labels >= LEAST and not now.deviation
        n, k = (sum(getattr(facts[d], what) for d in earlier) for what in ("labels", "positives"))
        rare = (now.positives, k) if now.positives == 0 else (now.labels - now.positives, n - k)
        return chance_of_split(rare[0], now.labels, rare[1], n) < CHANCE

    def is_gone(day: date) -> bool:
        return facts[day].labels == 0 and bool(before(day))

    def jumped(day: date) -> bool:
        now, earlier = facts[day], before(day)
        if len(earlier) < 2 or is_constant(day) or is_gone(day):
            return False
        if not is_binary:
            usual, deviation = (
                float(np.median([getattr(facts[d], f) for d in earlier])) for f in ("mean", "deviation")
            )
            return abs(now.mean - usual) > SHIFT * deviation
        usual = float(np.median([facts[d].mean for d in earlier]))
        n, k = (sum(getattr(facts[d], what) for d in earlier) for what in ("labels", "positives"))
        chance = chance_of_split(now.positives, now.labels, k, n)
        return chance < CHANCE and not all(
            1 / JUMP < a / b < JUMP for a, b in ((now.mean, usual), (1 - now.mean, 1 - usual)) if b > 0
        )

    mend = f"mend column {column} in the log"
    if (found := span(days, is_gone)) is not None:
        yield Finding("no labels", key, f"no row has a label {since(found)}", f"{mend}, or drop {key}", *found)
    if (found := span(days, is_constant)) is not None:
        value = facts[found[1]].mean
        line = f"all {facts[found[1]].labels:,} labels are {value:g} {since(found)}, so the task learns nothing"
        yield Finding("constant labels", key, line, f"{mend}, or drop {key}", *found)
    if (found := span(days, jumped)) is not None:
        usual = float(np.median([facts[d].mean for d in before(found[1])]))
        what = f"rate is {facts[found[1]].mean:.3g}" if is_binary else f"mean is {facts[found[1]].mean:.3g}"
        line = f"the label's {what}, {usual:.3g} on the days before; {since(found)}"
        remedy = f"{mend}; after an intended change set evaluation.compare_since: {found[0]}"
        yield Finding("label rate", key, line, remedy, *found)


def _head(e: Examination, task: str) -> Iterator[Finding]:
    """Finds a task whose head the newest window has not moved, though it moved others."""
    if not e.updates:
        return
    newest, key = e.updates[-1], f"tasks.{task}"
    if e.windows and not is_mature(e.config.tasks[task], e.windows[0].window[0], newest.last):
        return  # It has had no label yet.
    own = [r for path, r in newest.ratios.items() if path.startswith((f"output_{task}/", f"tower_{task}/"))]
    if not own or any(own) or not any(newest.ratios.values()):
        return
    remedy = "check that its rows have labels and weights"
    if not e.config.tasks[task].weight:
        remedy = f"{key}.weight: 1 (it is 0), or drop {key}"
    line = f"the head has not moved in the window that ended on {newest.last}"
    yield Finding("frozen task", key, line, remedy, newest.last, newest.last)


def _calibration(e: Examination, task: str) -> Iterator[Finding]:
    if not isinstance(e.config.tasks[task], BinaryTask):
        return  # A log1p regression predicts less than the mean, by design.
    bound = e.config.export.gate.calibration if e.config.export.gate else 2.0
    evaluated = [
        (day, tasks[task])
        for record in e.windows
        for day, tasks in record.evaluations.items()
        if task in tasks and tasks[task].get("labels") and task not in record.odd.get(day, {})
    ][-CALIBRATED_DAYS:]
    predicted, positives = (
        sum(metrics.get(what) or 0.0 for _, metrics in evaluated) for what in ("predicted", "positives")
    )
    if not evaluated or 1 / bound <= predicted / max(positives, 1e-9) <= bound:
        return
    if chance_of_count(positives, predicted) >= CHANCE:
        return
    first, last = evaluated[0][0], evaluated[-1][0]
    line = f"{predicted:,.0f} positives were predicted from {first} to {last}, {positives:,.0f} came"
    remedy = "optimizer.averaging, or optimizer.dense.schedule.window_end"
    if e.config.optimizer.averaging is not None:
        remedy = f"a lower optimizer.dense.learning_rate; or labels that come late: tasks.{task}.matures_after_days"
    yield Finding("calibration", f"tasks.{task}", line, remedy, first, last)
