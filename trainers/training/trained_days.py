"""The days that a run has trained on, MODEL_DIR/days.json, and the reaction if the log has changed since."""

from datetime import date, timedelta
from typing import Any, TypedDict

from tfstable.data.digest import day_digest
from tfstable.data.log import DayLog
from tfstable.data.maturity import longest
from tfstable.data.window import Window, windows
from tfstable.errors import InputError
from tfstable.files import read_json, write_json
from trainers.config import Config
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.plan import days_read
from trainers.training.state import RunState


class Changes(TypedDict):
    """How the log differs from the days that a run has trained on.

    Attributes:
        events: Per changed day its `record` for events.jsonl, its `line` for the user, and its facts `now`. Without a
            line the change is an expected one, which is not told.
        restart: Number of the checkpoint to restart from; None to continue.
    """

    events: list[dict[str, Any]]
    restart: int | None


class TrainedDays:
    """Rows and digest of each trained day, at the time of its training, and the days of the current window.

    The record of a window's days is on disk before its first checkpoint. See `day_digest` for what a digest misses.

    Args:
        config: The run's config.
        log: The log.
        run: The run's directory.
    """

    def __init__(self, config: Config, log: DayLog, run: RunDirectory):
        self._config, self._log, self._run, self._path = config, log, run, run.path / "days.json"
        self._days: dict[str, list[Any]] = {}  # Rows and digest.
        self._window: dict[str, Any] = {}  # The window begun last: `after` which position, its `days`.

    def begin(self, window: Window, after: date | None) -> None:
        """Notes the days of a window which is about to be trained, after the one that ended at `after`."""
        if not self._run.writable:
            return
        days, _ = days_read(self._config, self._log, window)
        filled = set(days).difference(window.days)  # Read before, without labels that have come since.
        used = {*days, *(day for day in self._log.days if after and after < day <= window.last)}
        new = {str(day): self._facts(day) for day in sorted(used) if str(day) not in self._days or day in filled}
        self._write(self._days | new, {"after": after and str(after), "days": list(map(str, days))})

    def look(self, state: RunState, report: Report) -> None:
        """Compares the log with the record, reports changes, and continues with the present days.

        If days of a partly trained window have changed, the window starts again from the checkpoint before it, since
        its batches now come in another order.

        Raises:
            InputError: If days are missing that the next window needs, and `data.missing_day` is "error".
        """
        check_gap(self._config, self._log, state.position.last_day)
        todo = self._todo(state.position.last_day)
        found = state.agreement.decide(lambda: self._changes(state, todo[0] if todo else None))
        for event in found["events"]:
            if "line" in event:
                self._run.add_event(**event["record"])
                report.found(event["line"])
        if (number := found["restart"]) is not None:
            state.restore(number)
            check_gap(self._config, self._log, state.position.last_day)
            state.save(state.position.last_day, 0)
        if found["events"] and self._run.writable:
            now = self._days | {event["record"]["day"]: event["now"] for event in found["events"] if "now" in event}
            self._write({day: facts for day, facts in sorted(now.items()) if facts}, self._window)

    def _todo(self, last: date | None) -> list[Window]:
        return windows(self._log.days, self._config.trainer.window_days, self._config.trainer.stride_days, after=last)

    def _changes(self, state: RunState, next_window: Window | None) -> Changes:
        self._read()
        there, last = set(self._log.days), state.position.last_day
        events: list[dict[str, Any]] = []
        recorded = [date.fromisoformat(day) for day in self._days]
        for day in sorted({*recorded, *(d for d in there if recorded and min(recorded) < d <= (last or date.min))}):
            before, now = self._days.get(str(day)), self._facts(day) if day in there else None
            if before == now or (now is None and day < min(there)):  # Retention removes the oldest days.
                continue
            rows, rows_before = now and now[0], before and before[0]
            if before is None:
                kind, line = "late_day", f"day {day} came late, with {rows:,} rows: later days were trained before it"
            elif now is None:
                kind, line = "removed_day", f"day {day} is gone from the log, {rows_before:,} rows when it was trained"
            else:
                kind = "changed_day"
                line = f"day {day} has changed since it was trained: {rows_before:,} rows then, {rows:,} now"
                line += ", with other content" if rows == rows_before else ""
            record = {"kind": kind, "day": str(day), "rows_before": rows_before, "rows": rows}
            events.append({"record": record, "line": f"{line}; training continues", "now": now})
            if rows == rows_before and last is not None and day > last - timedelta(longest(self._config.tasks)):
                del events[-1]["line"]  # Labels that were not complete have been filled in.
        nothing = Changes(events=events, restart=None)
        if not (state.position.batch and next_window):
            return nothing
        days, _ = days_read(self._config, self._log, next_window)
        planned, changed = [*map(str, days)], {event["record"]["day"] for event in events}
        begun = self._window.get("days", planned) if self._window.get("after") == (last and str(last)) else planned
        if begun == planned and not changed.intersection(planned):
            return nothing
        number = max((saved.number for saved in state.checkpoints.all() if not saved.step), default=None)
        if number is None:
            raise InputError(
                f"{self._run.path}: days of the window that ends at {next_window.last} have changed while it was being "
                "trained, and there is no checkpoint from before it; restore the days, or start again with --fresh"
            )
        restarted = {"kind": "window_restarted", "window_end": str(next_window.last), "restored": number}
        line = f"the window that ends at {next_window.last} has other days now: back to checkpoint {number}, before it"
        return Changes(events=[*events, {"record": restarted, "line": line}], restart=number)

    def _facts(self, day: date) -> list[Any]:
        return [self._log.rows(day), day_digest(self._log, day)]

    def _write(self, days: dict[str, list[Any]], window: dict[str, Any]) -> None:
        if (days, window) != (self._days, self._window):
            self._days, self._window = days, window
            write_json(self._path, {"days": days, "window": window})

    def _read(self) -> None:
        if not self._path.exists():
            return
        record = read_json(self._path, "remove it: the days then count as they are now")
        self._days, self._window = record["days"], record["window"]


def check_gap(config: Config, log: DayLog, last: date | None) -> None:
    """Checks that the log continues after `last`, the newest day that the run has trained.

    Raises:
        InputError: If the next day is missing, or days of the next window are, and `data.missing_day` is "error".
    """
    length, days = config.trainer.window_days, log.days
    remedy = "restore them, or set data.missing_day=skip to train on the existing days"
    if last is None:
        if len(days) < length:
            raise InputError(f"{log.path}: {len(days)} days, fewer than trainer.window_days ({length}); add days")
        return
    new = [day for day in days if day > last]
    if config.data.missing_day == "skip" or not new:
        return
    if new[0] != last + timedelta(1):
        raise InputError(
            f"{log.path}: {_span(last + timedelta(1), new[0])} missing between {last}, the last day that the run has "
            f"trained, and {new[0]}; {remedy}"
        )
    todo = windows(days, length, config.trainer.stride_days, after=last)
    if todo and len(todo[0].days) < length:
        first = todo[0].last - timedelta(length - 1)
        raise InputError(
            f"{log.path}: {_span(first, todo[0].days[0])} missing for the window of {length} days that ends at "
            f"{todo[0].last}; {remedy}"
        )


def _span(first: date, end: date) -> str:
    """Names the days from `first` to before `end`."""
    last = end - timedelta(1)
    return f"day {first} is" if first == last else f"days {first} to {last} are"
