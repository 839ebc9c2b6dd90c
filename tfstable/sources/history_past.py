"""The events that the rows of a day see, carried from day to day."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from tfstable.data.log import DayLog
from tfstable.sources.history_engine import Engine, remove
from tfstable.sources.history_staging import Columns, earliest, no_events, stage_events, stage_rows
from tfstable.sources.history_statement import Sight, histories, newest


class Past:
    """Of each key the newest events before a day, in a file of the engine that grows with the keys, not with the log.

    Args:
        log: The log.
        columns: Its columns that matter.
        sight: How rows see events.
        new: Days whose histories will be asked for, in order.
        engine: Where the statements run.
    """

    def __init__(self, log: DayLog, columns: Columns, sight: Sight, new: list[date], engine: Engine) -> None:
        self._log, self._columns, self._sight, self._engine = log, columns, sight, engine
        self._known = engine.work / "no_events.parquet"
        no_events(self._known, columns)
        self._waiting = list(log.days)  # Days whose events are not among those known yet.
        self._horizon: dict[date, int | float] = {}
        if sight.within and columns.time:
            upto: int | float | None = None
            for day in reversed(new):
                least = earliest(log, day, columns.time)
                upto = least if upto is None else min(upto, least)
                self._horizon[day] = upto

    def of_day(self, day: date) -> Iterator[Path]:
        """Yields where the histories of a day are, part by part, as `Lists` reads them; each goes before the next."""
        self._learn(day)
        work, known = self._engine.work, [self._known]
        rows = stage_rows(self._log, day, self._columns, work / "rows", self._engine.rows_at_a_time)
        if self._sight.within:
            known.append(work / f"events-{day}.parquet")
            stage_events(self._log, day, self._columns, known[-1])
        for part in rows:
            result = work / "result.parquet"
            tables = self._engine.table([part], "rows"), self._engine.table(known, "seen")
            self._engine.save(histories(*tables, self._sight), result)
            yield result
            remove(result)
            remove(part)

    def _learn(self, day: date) -> None:
        """Makes the events known that rows of `day` see by their day: those of days before day - delay."""
        before = [d for d in self._waiting if (day - d).days > self._sight.delay_days]
        if not before:
            return
        self._waiting = self._waiting[len(before) :]
        files = [self._engine.work / f"events-{d}.parquet" for d in before]
        for d, file in zip(before, files, strict=True):
            if not file.exists():
                stage_events(self._log, d, self._columns, file)
        known = self._engine.work / f"known-{day}.parquet"
        events = self._engine.table([self._known, *files], "learnt")
        self._engine.save(newest(events, self._sight, self._horizon.get(day)), known)
        for file in (self._known, *files):
            remove(file)
        self._known = known
