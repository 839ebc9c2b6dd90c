"""Histories from a log itself: what each user did before a row, as list columns, newest last."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import pyarrow as pa

from tfstable.data.day_writer import ROW_GROUP, day_writer
from tfstable.data.log import DayLog, common_types, read
from tfstable.data.log_files import is_csv
from tfstable.data.types import cast
from tfstable.errors import InputError
from tfstable.files import FORMAT, read_json, write_json
from tfstable.locks import clear_abandoned, grow, locked, settle
from tfstable.sources.history_engine import Engine
from tfstable.sources.history_past import Past
from tfstable.sources.history_staging import Columns, Lists, columns_of
from tfstable.sources.history_statement import Sight

Progress = Callable[[int, int, str], None]
MOST = 10_000
RECORD = "_history.json"  # What the columns of a log are: a rerun must not mix two meanings.


@dataclass(frozen=True)
class History:
    """What a history is made of.

    Args:
        by: Column of the key, such as the user. A row without a key (null or empty text) has an empty history
            and is no event.
        of: Columns whose values at each event are wanted, one value per row: integers, floats or text. Each becomes
            a list column, PREFIX + its name without `_id`. A null in them stays at its position.
        where: Column that is neither null nor 0 in rows that are events; None: all rows with a key are.
        last: Number of events at most, 1 to `MOST`.
        time: Column of times, numbers that are null nowhere. It orders the events, and the gap is in its units. None:
            events are in the order of their days, and the gap is in days. Events that are equal in these are in the
            order of their values.
        within_day: Also take events of the row's own day. Of all events then only those count whose time is earlier
            than the row's. Needs `time`.
        delay_days: A row of day d sees events of days before d - delay_days. At least 0; 0 within the day.
        prefix: What the names of the new columns start with.

    Raises:
        InputError: If an argument leaves its domain, or two columns would have one name.
    """

    by: str
    of: Sequence[str]
    where: str | None = None
    last: int = 50
    time: str | None = None
    within_day: bool = False
    delay_days: int = 0
    prefix: str = "seen_"

    def __post_init__(self) -> None:
        if not self.of:
            raise InputError("--of: no column; name those whose values are wanted: --of video_id,author_id")
        if not 1 <= self.last <= MOST:
            raise InputError(f"--last must be between 1 and {MOST}, got {self.last}")
        if self.delay_days < 0:
            raise InputError(f"--delay must be at least 0 days, got {self.delay_days}")
        if self.within_day and self.time is None:
            raise InputError("--within-day needs a column of times")
        if self.within_day and self.delay_days:
            raise InputError("--within-day takes events of the row's own day, and --delay leaves days out; drop one")
        names = self.names
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"--of {','.join(self.of)}: two columns would be {twice[0]}; leave one out")

    @property
    def names(self) -> list[str]:
        """Names of the list columns, the gap's last."""
        return [self.prefix + column.removesuffix("_id") for column in self.of] + [f"{self.prefix}gap"]


def write_histories(
    data: Path,
    out: Path,
    history: History,
    *,
    engine: Literal["duckdb", "spark"] = "duckdb",
    memory_gb: float = 1.0,
    progress: Progress = lambda done, total, what: None,
) -> list[date]:
    """Writes a log with list columns of what each row's user did before it, from the log itself.

        seen_video   the values of video_id at the last events, newest last
        seen_gap     how long before the row each was: days, or the units of `time`

    By default a row of day d sees events of days before d alone. Rows and their order stay as they are. Days that are
    in `out` stay, too: the same call goes on where one was stopped, and adds days that have come into the log.

    Memory holds neither log nor users: a day's rows are joined with the last events of each user, which DuckDB keeps on
    disk where they do not fit.

    Args:
        data: The log. A gap in its days is no error.
        out: Directory of the new log, made if it is not there. `out`/_history.json says what its columns are.
        history: What to write.
        engine: "duckdb"; "spark" for keys too many for one machine. Both give the same log.
        memory_gb: Limit of DuckDB's memory. The process has a few hundred MB beside it.
        progress: Called with the days done, the days in all, and what comes next.

    Returns:
        The days written, in order.

    Raises:
        InputError: If the log or a column of it is not what it should be, or `out` holds something else. Days written
            before stay whole.
    """
    data, out = Path(data), Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: not a directory; choose another --out")
    if out.resolve() == data.resolve():
        raise InputError(f"{out}: the log itself; choose another --out")
    log = DayLog(data, missing_day="skip")
    columns = columns_of(log, history.by, history.of, history.where, history.time)
    _check_names(log, history.names)
    new = [day for day in log.days if not (out / f"date={day}").exists()]
    with locked(out, "wait until it ends, or choose another --out"):
        _check_record(out, history)
        if not new:
            return []
        with _work(out) as work:
            sight = Sight(columns.order, history.last, history.within_day, history.delay_days)
            past = Past(log, columns, sight, new, Engine(engine, work, memory_gb))
            for done, day in enumerate(new):
                progress(done, len(new), f"histories of {day}")
                _write_day(log, day, out, history, columns, past.of_day(day))
    progress(len(new), len(new), "done")
    return new


def _write_day(log: DayLog, day: date, out: Path, history: History, columns: Columns, results: Iterator[Path]) -> None:
    types = _types(log, day)
    made = pa.schema(zip(history.names, [*columns.values.values(), _gap_type(columns)], strict=True))
    made = pa.schema([field.with_type(pa.list_(field.type)) for field in made])
    schema = pa.schema([*types.items(), *made])
    lists = Lists(results, made, columns, day)
    with day_writer(out, day, schema) as writer:
        for batch in read(log.units(day), types):
            for part in (batch.slice(first, ROW_GROUP) for first in range(0, len(batch), ROW_GROUP)):
                time = cast(part[columns.time[0]], columns.time[1]) if columns.time else None
                arrays = [*part.columns, *lists.take(len(part), time)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROW_GROUP)


def _types(log: DayLog, day: date) -> dict[str, pa.DataType]:
    """The columns of a day. Those of CSV have one type in all days: Parquet does not mix them any more."""
    schemas = log.schemas(day)
    names = next(iter(schemas.values())).names
    paths = list(schemas)
    if any(is_csv(path) for path in paths):
        paths = [path for each in log.days for path in log.schemas(each)]
    return common_types(paths, names)


def _gap_type(columns: Columns) -> pa.DataType:
    return columns.time[1] if columns.time else pa.int64()


def _check_names(log: DayLog, names: list[str]) -> None:
    for day in log.days:
        for path, schema in log.schemas(day).items():
            if taken := sorted(set(names) & set(schema.names)):
                raise InputError(f"{path}: has a column {taken[0]} already; choose another --prefix")


def _check_record(out: Path, history: History) -> None:
    """Checks that the days in `out` are of the same history, or notes which it is."""
    path = out / RECORD
    wanted = {"format": FORMAT, **asdict(history), "of": list(history.of)}
    if not any(child.name.startswith("date=") for child in out.iterdir()):
        write_json(path, wanted)
    elif path.exists():
        found = read_json(path, "choose another --out")
        for key, value in wanted.items():
            if found.get(key) != value:
                raise InputError(f"{out}: was made with {key} = {found.get(key)}, not {value}; choose another --out")
    else:
        raise InputError(f"{out}: a log without {RECORD}, so not of `tfstable history`; choose another --out")


@contextmanager
def _work(out: Path) -> Iterator[Path]:
    """A hidden directory in `out`; what killed processes have left of theirs is deleted first."""
    clear_abandoned(out)
    work = grow(out)
    try:
        yield work
    finally:
        settle(work)
