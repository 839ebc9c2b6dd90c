"""Prepares a MovieLens data set, as a log of its days or in the split of a benchmark.

Data: Harper, Konstan, "The MovieLens Datasets: History and Context", 2015. Its files are the user's own download.
"""

import io
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from tfstable.data.day_writer import ROW_GROUP, day_writer
from tfstable.errors import InputError
from tfstable.sources.rechorus_split import SPLIT_DAYS, Split, split_rows

EPOCH = date(1970, 1, 1)
SECONDS_A_DAY = 86_400
UTC8 = 8 * 3600  # The benchmark's clock.
LIKED = 4.0  # Stars from which a movie counts as liked.
NO_GENRES = "(no genres listed)"
_RATINGS = {"user_id": pa.int64(), "movie_id": pa.int64(), "rating": pa.float32(), "timestamp": pa.int64()}
_USERS = {"gender": pa.string(), "age": pa.int64(), "occupation": pa.string(), "zip_code": pa.string()}
_FLAGS = 19  # Genres of ml-100k, one column each behind five others of a movie.
Progress = Callable[[int, int, str], None]


def prepare(
    raw: Path,
    out: Path,
    split: Literal["rechorus"] | None = None,
    last: int = 50,
    progress: Progress = lambda done, total, what: None,
) -> dict[date, tuple[int, int]]:
    """Writes the ratings of MovieLens 1M, 100K or "latest" (also 20M and later) as a log.

    A row is a rating. Rows of a day are in the order of time, user, movie. Columns:

    - `user_id`, `movie_id`, `timestamp` (int64, seconds since 1970);
    - `rating` (float32) and `liked` (int8, 1 from four stars on): labels, never features;
    - `hour` (0..23), `weekday` (int64, Monday is 0), in UTC; in UTC+8 with a split;
    - of the movie: `title`, `year` (int64, of the title) and `genres` (list of text);
    - of the user, in 1M and 100K: `gender`, `age`, `occupation`, `zip_code` (text, but `age`);
    - with a split: see `rechorus_split.split_rows`.

    Args:
        raw: The official archive, or a directory of its files.
        out: The log to make; without a split, days that are there stay as they are.
        split: None: the days as they were, in UTC. "rechorus": training, validation and test rows as three days.
        last: Newest earlier likes of the user in each row, with a split.
        progress: Called with what is done, out of how much, and what comes next.

    Returns:
        Rows, and those liked, of each day written.

    Raises:
        InputError: If a file is missing or damaged, or `out` cannot be written.
    """
    raw, out = Path(raw), Path(out)
    progress(0, 3, f"reading {raw.name}")
    ratings, movies, users = _read(raw)
    progress(1, 3, "joining")
    shift = UTC8 if split else 0
    ratings = _derived(ratings.sort_by([(name, "ascending") for name in ("timestamp", "user_id", "movie_id")]), shift)
    if split == "rechorus":
        if others := {path.name for path in out.glob("date=*")} - {f"date={day}" for day in SPLIT_DAYS}:
            raise InputError(f"{out}: holds {min(others)}, no day of the split; choose another place")
        found = split_rows(ratings, _seconds(ratings, shift) // SECONDS_A_DAY, last)
        parts = dict(zip(SPLIT_DAYS, found, strict=True))
        if empty := [
            name for name, part in zip(("training", "validation", "test"), found, strict=True) if not len(part)
        ]:
            raise InputError(f"{raw}: the {empty[0]} part of the split is empty; take the whole data set")
    else:
        parts = _days(ratings)
    new = {day: part for day, part in parts.items() if not (out / f"date={day}").exists()}
    written = {}
    for done, (day, part) in enumerate(new.items()):
        progress(done, len(new), f"writing {day}")
        written[day] = _write(out, day, part, movies, users)
    progress(len(new), len(new), "done")
    return written


def _write(out: Path, day: date, part: Split, movies: pa.Table, users: pa.Table | None) -> tuple[int, int]:
    schema = _joined(part.rows(0, 0), movies, users).schema
    with day_writer(out, day, schema) as writer:
        for start in range(0, len(part), ROW_GROUP):
            table = _joined(part.rows(start, start + ROW_GROUP), movies, users)
            writer.write_table(table, row_group_size=ROW_GROUP)
    return len(part), part.liked


def _joined(rows: pa.Table, movies: pa.Table, users: pa.Table | None) -> pa.Table:
    for key, side in (("movie_id", movies), ("user_id", users)):
        if side is not None:
            of_rows = side.take(pc.index_in(rows[key], side[key]))  # An id that is not there takes nulls.
            for name in side.column_names:
                rows = rows if name == key else rows.append_column(name, of_rows[name])
    return rows


def _derived(ratings: pa.Table, shift: int) -> pa.Table:
    seconds = _seconds(ratings, shift)
    weekday = (seconds // SECONDS_A_DAY + EPOCH.weekday()) % 7
    liked = pc.greater_equal(ratings["rating"], LIKED).cast(pa.int8())
    for name, values in (("hour", seconds // 3600 % 24), ("weekday", weekday)):
        ratings = ratings.append_column(name, pa.array(values))
    return ratings.append_column("liked", liked)


def _seconds(ratings: pa.Table, shift: int) -> np.ndarray:
    return ratings["timestamp"].to_numpy() + shift


def _days(ratings: pa.Table) -> dict[date, Split]:
    numbers, starts = np.unique(_seconds(ratings, 0) // SECONDS_A_DAY, return_index=True)
    ends = [*starts[1:], len(ratings)]
    return {
        EPOCH + timedelta(days=int(number)): Split(ratings.slice(start, end - start))
        for number, start, end in zip(numbers, starts, ends, strict=True)
    }


# --- The official files.


def _read(raw: Path) -> tuple[pa.Table, pa.Table, pa.Table | None]:
    """Ratings, movies and users (None: the data set has none), each by its ids."""
    files = _Files(raw)
    users = None
    if "ratings.dat" in files:
        ratings = files.table("ratings.dat", _RATINGS, "::")
        movies = files.table("movies.dat", dict.fromkeys(("movie_id", "title", "genres"), pa.string()), "::")
        users = files.table("users.dat", {"user_id": pa.int64(), **_USERS}, "::")
    elif "u.data" in files:
        ratings = files.table("u.data", _RATINGS, "\t")
        side = {name: _USERS[name] for name in ("age", "gender", "occupation", "zip_code")}
        users = files.table("u.user", {"user_id": pa.int64(), **side}, "|")
        movies = _flags_joined(files)
    elif "ratings.csv" in files:
        ratings = files.table("ratings.csv", _RATINGS, ",", header="userId,movieId,rating,timestamp")
        names = dict.fromkeys(("movie_id", "title", "genres"), pa.string())
        movies = files.table("movies.csv", names, ",", header="movieId,title,genres")
    else:
        raise InputError(f"{raw}: neither ratings.dat, u.data nor ratings.csv is in it; give an archive of MovieLens")
    if not len(ratings):
        raise InputError(f"{raw}: no ratings; copy it again")
    return ratings, _movies(movies), users


def _movies(movies: pa.Table) -> pa.Table:
    year = pc.extract_regex(movies["title"], r"\((?P<year>\d{4})\)\s*$")
    genres = pc.split_pattern(pc.replace_substring(movies["genres"], NO_GENRES, ""), "|")
    empty = pc.equal(pc.list_value_length(genres), 1).to_pylist()
    found = [[] if alone and not each[0] else each for alone, each in zip(empty, genres.to_pylist(), strict=True)]
    return pa.table(
        {
            "movie_id": movies["movie_id"].cast(pa.int64()),
            "title": movies["title"],
            "year": pc.struct_field(year, "year").cast(pa.int64()),
            "genres": pa.array(found, pa.list_(pa.string())),
        }
    )


def _flags_joined(files: "_Files") -> pa.Table:
    """u.item of ml-100k, whose genres are a flag each, in the order of u.genre."""
    names = ("movie_id", "title", "released", "video", "url", *map(str, range(_FLAGS)))
    items = files.table("u.item", dict.fromkeys(names, pa.string()), "|")
    genres = files.table("u.genre", {"name": pa.string(), "number": pa.int64()}, "|")
    name_of = dict(zip(genres["number"].to_pylist(), genres["name"].to_pylist(), strict=True))
    flags = np.stack([items[str(i)].to_numpy() == "1" for i in range(_FLAGS)], axis=1)
    found = ["|".join(name_of.get(i, str(i)) for i in np.flatnonzero(row)) for row in flags]
    return pa.table({"movie_id": items["movie_id"], "title": items["title"], "genres": found})


class _Files:
    """The files of an archive or a directory, in it or one folder below."""

    def __init__(self, raw: Path) -> None:
        self._raw, self._archive = raw, None
        try:
            if raw.is_dir():
                paths = [path for path in (*raw.iterdir(), *raw.glob("*/*")) if path.is_file()]
                self._members = {path.name: str(path.relative_to(raw)) for path in reversed(paths)}
            else:
                self._archive = zipfile.ZipFile(raw)
                names = [n for n in self._archive.namelist() if n.count("/") < 2 and not n.startswith("__MACOSX")]
                self._members = {name.rsplit("/", 1)[-1]: name for name in names}
        except (OSError, zipfile.BadZipFile) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{raw}: cannot be read ({reason}); give the archive or its directory") from None

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def table(self, name: str, types: dict[str, pa.DataType], delimiter: str, header: str | None = None) -> pa.Table:
        """Reads a file; `header` is its first line, where it has one. No field may be empty, but of text."""
        where = f"{self._raw}: {name}"
        if name not in self:
            raise InputError(f"{where} is missing; copy the data set again")
        try:
            content = self._archive.read(self._members[name]) if self._archive else self._path(name).read_bytes()
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise InputError(f"{where} cannot be read ({error}); copy the data set again") from None
        if header is not None:
            first, _, content = content.partition(b"\n")
            if first.strip().decode("utf-8-sig", "replace") != header:
                raise InputError(f"{where} begins with {first[:80]!r}, expected {header}; copy the data set again")
        elif delimiter == "::":
            content, delimiter = content.replace(b"::", b"\x1f"), "\x1f"
        if not content.strip():
            return pa.table({column: pa.array([], dtype) for column, dtype in types.items()})
        try:
            return _checked(_parsed(content, types, delimiter, header is not None), where)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            said = " ".join(str(error).split())[:200]
            raise InputError(f"{where}: {said}; mend the line or copy the data set again") from None

    def _path(self, name: str) -> Path:
        return self._raw / self._members[name]


def _parsed(content: bytes, types: dict[str, pa.DataType], delimiter: str, is_csv: bool) -> pa.Table:
    return read_csv(
        io.BytesIO(content),
        # The old data sets are in Latin-1, and their quotes are letters like any other.
        read_options=ReadOptions(column_names=list(types), use_threads=False, encoding="utf8" if is_csv else "latin1"),
        parse_options=ParseOptions(delimiter=delimiter, quote_char='"' if is_csv else False),
        convert_options=ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False),
    )


def _checked(table: pa.Table, where: str) -> pa.Table:
    for name in table.column_names:
        if table[name].null_count:
            row = int(np.argmax(pc.is_null(table[name]).to_numpy()))
            raise InputError(f"{where}: row {row} (the first is 0) has no {name}; mend it or copy the data set again")
    return table
