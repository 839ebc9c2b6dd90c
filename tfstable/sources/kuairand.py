"""Prepares the KuaiRand-Pure logs: joins users and videos, and writes a day log.

Data: Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos", 2022.
"""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.day_writer import ROW_GROUP, day_writer
from tfstable.errors import InputError
from tfstable.locks import grow, settle
from tfstable.sources.history import RECORD, History, write_histories
from tfstable.sources.raw_csv import read_raw_csv

LOG_FILES = ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv")
USER_FILE = "user_features_pure.csv"
VIDEO_FILE = "video_features_basic_pure.csv"
EPOCH = date(1970, 1, 1)

#: Columns that describe what happened after the impression: labels, never features.
OUTCOMES = (
    *("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view", "is_profile_enter"),
    *("play_time_ms", "profile_stay_time", "comment_stay_time"),
)
_CONTEXT = ("user_id", "video_id", "date", "hourmin", "time_ms", "duration_ms", "is_rand", "tab")
_USER_STRINGS = (
    *("user_active_degree", "follow_user_num_range", "fans_user_num_range", "friend_user_num_range"),
    "register_days_range",
)
_USER_INTEGERS = (
    *("is_lowactive_period", "is_live_streamer", "is_video_author"),
    *("follow_user_num", "fans_user_num", "friend_user_num", "register_days"),
    *(f"onehot_feat{i}" for i in range(18)),
)
_VIDEO_STRINGS = ("video_type", "upload_dt", "upload_type", "tag")
_VIDEO_INTEGERS = (
    *("author_id", "visible_status", "video_duration", "server_width", "server_height", "music_id", "music_type"),
)


def _types(integers: tuple[str, ...], strings: tuple[str, ...] = ()) -> dict[str, pa.DataType]:
    return dict.fromkeys(integers, pa.int64()) | dict.fromkeys(strings, pa.string())


_LOG = _types(_CONTEXT + OUTCOMES)
_USERS = _types(("user_id", *_USER_INTEGERS), _USER_STRINGS)
_VIDEOS = _types(("video_id", *_VIDEO_INTEGERS), _VIDEO_STRINGS)
_DERIVED = {
    "hour": pa.int64(),
    "weekday": pa.int64(),
    "duration_s": pa.float32(),
    "video_age_days": pa.float32(),
    "play_time_s": pa.float32(),
}

#: Columns of a prepared day. The partition's name holds the date, `date=YYYY-MM-DD`.
SCHEMA = pa.schema({name: dtype for name, dtype in (_LOG | _DERIVED | _USERS | _VIDEOS).items() if name != "date"})

#: The columns that `prepare_with_histories` adds: what each user clicked on earlier days. `date` trails `time_ms`
#: by hours on some rows, so an event of an earlier day may have a later time, and a negative gap.
CLICKS = History("user_id", ("video_id", "author_id"), "is_click", last=50, time="time_ms")


def prepare(
    raw: Path, out: Path, *, progress: Callable[[int, int, str], None] = lambda done, total, what: None
) -> list[date]:
    """Writes the days of the standard logs in `raw` that `out` does not hold yet; existing days stay unchanged.

    One row per row of the raw log, exact duplicates included, sorted by `time_ms` and then by position in the file. A
    user or video without a line in its file has nulls. Columns, see `SCHEMA`:

    - of the log (int64), without `date`, which names the partition. `OUTCOMES` are labels, never features;
    - derived: `hour` (int64, 0..23, of `hourmin`), `weekday` (int64, Monday is 0), `duration_s` (float32; null where
      `duration_ms` is 0, which means unknown: pictures), `video_age_days` (float32, `date` - `upload_dt`), and the
      label `play_time_s` (float32);
    - of the user's and the video's line: integers (int64) and unchanged strings, `tag` as "12,65". An empty field is
      null. Sentinels stay: `is_live_streamer` is 1 or -124, never 0, so -124 means no, not unknown; "UNKNOWN" is a
      category.

    The raw log is assumed to hold complete days: a file cut at a line break is not noticed.

    Args:
        raw: Directory of the official archive. It, or its folder `data`, holds one or both of `LOG_FILES`, and
            `USER_FILE` and `VIDEO_FILE`. Other files are ignored.
        out: The day log to create or extend.
        progress: Called with the steps done, the steps in all (files read, then days written), and the next step.

    Returns:
        The days written, in order; empty if `out` has them all.

    Raises:
        InputError: If a file or column is missing, a line is damaged, or `out` cannot be written. Days already written
            stay complete.
    """
    raw, out = Path(raw), Path(out)
    if (out / RECORD).exists():
        raise InputError(f"{out}: its days have histories; add --history, or choose another --out")
    directory = next((d for d in (raw, raw / "data") if any((d / name).is_file() for name in LOG_FILES)), None)
    if directory is None:
        raise InputError(f"{raw}: neither it nor its folder data holds {' or '.join(LOG_FILES)}; give their directory")
    log_files = [directory / name for name in LOG_FILES if (directory / name).is_file()]
    steps = len(log_files) + 2

    logs: list[pa.Table] = []
    for path in log_files:
        progress(len(logs), steps, f"reading {path.name}")
        logs.append(_read_log(path))
    progress(steps - 2, steps, f"reading {USER_FILE}")
    users = _read_side(directory / USER_FILE, _USERS, "user_id")
    progress(steps - 1, steps, f"reading {VIDEO_FILE}")
    videos = _read_side(directory / VIDEO_FILE, _VIDEOS, "video_id")
    videos = videos.append_column("uploaded", _days_since_epoch(directory / VIDEO_FILE, videos["upload_dt"]))

    log = pa.concat_tables(logs)
    numbers = log["date"].to_numpy()
    order = np.lexsort((log["time_ms"].to_numpy(), numbers))
    distinct, starts = np.unique(numbers[order], return_index=True)
    days = [_day(number) for number in distinct]
    new = [i for i, day in enumerate(days) if not (out / f"date={day}").exists()]
    ends = np.append(starts[1:], len(order))
    for done, i in enumerate(new):
        progress(done, len(new), f"writing {days[i]}")
        with day_writer(out, days[i], SCHEMA) as writer:
            rows = log.take(order[starts[i] : ends[i]])
            writer.write_table(_joined(rows, days[i], users, videos), row_group_size=ROW_GROUP)
    progress(len(new), len(new), "done")
    return [days[i] for i in new]


def prepare_with_histories(
    raw: Path, out: Path, *, progress: Callable[[int, int, str], None] = lambda done, total, what: None
) -> list[date]:
    """Writes the days that `prepare` would write, each with the columns of `CLICKS`, that `out` does not hold yet.

    The arguments, what is returned and what is raised are those of `prepare`. The log without histories is made first,
    inside `out`, and deleted at the end.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: not a directory; choose another --out")
    plain = grow(out)
    try:
        prepare(raw, plain, progress=progress)
        return write_histories(plain, out, CLICKS, progress=progress)
    finally:
        settle(plain)
        if not any(out.iterdir()):
            out.rmdir()


def _joined(rows: pa.Table, day: date, users: pa.Table, videos: pa.Table) -> pa.Table:
    user = users.take(pc.index_in(rows["user_id"], users["user_id"]))  # An unknown id gets nulls.
    video = videos.take(pc.index_in(rows["video_id"], videos["video_id"]))
    columns = {name: table[name] for table in (video, user, rows) for name in table.column_names}
    duration_ms = columns["duration_ms"]
    columns |= {
        "hour": pc.divide(columns["hourmin"], 100),
        "weekday": pa.repeat(pa.scalar(day.weekday(), pa.int64()), len(rows)),
        "duration_s": _seconds(pc.if_else(pc.equal(duration_ms, 0), None, duration_ms)),
        "video_age_days": pc.subtract((day - EPOCH).days, columns["uploaded"]).cast(pa.float32()),
        "play_time_s": _seconds(columns["play_time_ms"]),
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _read_log(path: Path) -> pa.Table:
    table = read_raw_csv(path, _LOG, filled=("user_id", "video_id", "date", "hourmin", "time_ms"))
    if not table.num_rows:
        raise InputError(f"{path}: no rows below the header; copy it again")
    numbers, hourmin = table["date"].to_numpy(), table["hourmin"].to_numpy()
    wrong_dates = np.isin(numbers, [n for n in np.unique(numbers) if not _is_day(n)])
    wrong_times = (hourmin < 0) | (hourmin > 2359) | (hourmin % 100 > 59)
    for name, wrong, rule in (("date", wrong_dates, "YYYYMMDD"), ("hourmin", wrong_times, "HHMM")):
        if wrong.any():
            line = int(np.argmax(wrong)) + 2
            raise InputError(f"{path}, line {line}: column {name} must be {rule}, got {table[name][line - 2]}")
    return table


def _read_side(path: Path, types: dict[str, pa.DataType], key: str) -> pa.Table:
    table = read_raw_csv(path, types, filled=(key,))
    values, counts = np.unique(table[key].to_numpy(), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{path}: {key} {values[counts > 1][0]} has more than one line; keep one")
    return table


def _is_day(number: int) -> bool:
    try:
        _day(number)
    except ValueError:
        return False
    return True


def _day(number: int) -> date:
    """20220425 as a date; raises ValueError if it is not one."""
    return datetime.strptime(str(number), "%Y%m%d").date()


def _days_since_epoch(path: Path, dates: pa.ChunkedArray) -> pa.ChunkedArray:
    """ "2022-04-10" as days since 1970-01-01; null stays null."""
    try:
        return dates.cast(pa.date32()).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: column upload_dt must be YYYY-MM-DD ({str(error)[:80]}); fix the line") from error


def _seconds(milliseconds: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.divide(milliseconds.cast(pa.float64()), 1000).cast(pa.float32())
