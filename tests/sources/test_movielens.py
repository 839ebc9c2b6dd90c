"""`prepare movielens` on made-up files of the official layouts; nothing here is of the data sets themselves."""

import zipfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tfstable.errors import InputError
from tfstable.sources.movielens import prepare
from tfstable.sources.rechorus_split import SPLIT_DAYS

GENRES = ["unknown", "Action", "Comedy", "Drama"]
TITLES = {1: "Été, l' (1995)", 2: 'The "Best": Part 2 (2000)', 3: "Untitled"}
START = int(datetime(2000, 4, 25, 22, 30, tzinfo=UTC).timestamp())


def made_ratings(rows=3000, users=40, movies=60, days=100, seed=0) -> pd.DataFrame:
    """Users who come one after the other, as in the real data, and rate many movies within a second."""
    rng = np.random.default_rng(seed)
    user = rng.integers(1, users + 1, rows)
    time = START + (user * days * 86_400 / users * rng.random(rows)).astype(int) // 50 * 50
    movie = np.minimum(rng.geometric(0.06, rows), movies)
    frame = pd.DataFrame({"user_id": user, "movie_id": movie, "rating": rng.integers(1, 6, rows), "timestamp": time})
    return frame.drop_duplicates(["user_id", "movie_id"]).reset_index(drop=True)


def genres_of(movie: int) -> list[str]:
    return [] if movie == 3 else [GENRES[i] for i in range(1, 4) if movie % (i + 1) == 0] or ["Drama"]


def title_of(movie: int) -> str:
    return TITLES.get(movie, f"Movie {movie} ({1950 + movie})")


def write_1m(path: Path, ratings: pd.DataFrame):
    lines = ["::".join(map(str, row)) for row in ratings.to_numpy()]
    movies = sorted(set(ratings.movie_id))
    texts = {
        "ratings.dat": lines,
        "movies.dat": [f"{m}::{title_of(m)}::{'|'.join(genres_of(m)) or '(no genres listed)'}" for m in movies],
        "users.dat": [f"{u}::{'FM'[u % 2]}::{25 + u % 3}::{u % 20}::0{u:04}" for u in sorted(set(ratings.user_id))],
    }
    write_all(path / "ml-1m", texts, "latin-1")


def write_100k(path: Path, ratings: pd.DataFrame):
    def flags(movie: int) -> str:
        return "|".join(str(int(i < 4 and GENRES[i] in genres_of(movie))) for i in range(19))

    movies = sorted(set(ratings.movie_id))
    texts = {
        "u.data": ["\t".join(map(str, row)) for row in ratings.to_numpy()],
        "u.item": [f"{m}|{title_of(m)}|01-Jan-1995||http://x/{m}|{flags(m)}" for m in movies],
        "u.genre": [f"{name}|{i}" for i, name in enumerate(GENRES)] + [""],
        "u.user": [f"{u}|{25 + u % 3}|{'FM'[u % 2]}|{u % 20}|0{u:04}" for u in sorted(set(ratings.user_id))],
    }
    write_all(path / "ml-100k", texts, "latin-1")


def write_latest(path: Path, ratings: pd.DataFrame):
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text

    movies = sorted(set(ratings.movie_id))
    rows = [f"{m},{quoted(title_of(m))},{'|'.join(genres_of(m)) or '(no genres listed)'}" for m in movies]
    texts = {
        "ratings.csv": ["userId,movieId,rating,timestamp"]
        + [f"{u},{m},{r}.0,{t}" for u, m, r, t in ratings.to_numpy()],
        "movies.csv": ["movieId,title,genres", *rows],
    }
    write_all(path / "ml-latest-small", texts, "utf-8")


def write_all(folder: Path, texts: dict[str, list[str]], encoding: str):
    folder.mkdir(parents=True)
    for name, lines in texts.items():
        (folder / name).write_bytes(("\n".join(lines) + "\n").encode(encoding))


LAYOUTS = {"ml-1m": write_1m, "ml-100k": write_100k, "ml-latest": write_latest}


def read(log: Path) -> pd.DataFrame:
    frames = [
        pd.read_parquet(path, partitioning=None).assign(day=date.fromisoformat(path.parent.name[5:]))
        for path in sorted(log.glob("date=*/*.parquet"))
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_log(tmp_path, layout):
    ratings = made_ratings()
    LAYOUTS[layout](tmp_path / "raw", ratings)
    written = prepare(tmp_path / "raw", tmp_path / "log")
    found = read(tmp_path / "log")
    expected = ratings.sort_values(["timestamp", "user_id", "movie_id"]).reset_index(drop=True)
    for name in ("user_id", "movie_id", "rating", "timestamp"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    times = [datetime.fromtimestamp(t, UTC) for t in expected.timestamp]
    assert found.day.tolist() == [time.date() for time in times]
    assert found.hour.tolist() == [time.hour for time in times]
    assert found.weekday.tolist() == [time.weekday() for time in times]
    np.testing.assert_array_equal(found.liked, expected.rating >= 4)
    assert found.title.tolist() == [title_of(m) for m in expected.movie_id]
    assert [list(g) for g in found.genres] == [genres_of(m) for m in expected.movie_id]
    assert found.year[found.movie_id == 1].tolist()[0] == 1995
    assert found.year[found.movie_id == 3].isna().all()
    if layout == "ml-latest":
        assert "gender" not in found
    else:
        assert found.gender.tolist() == ["FM"[u % 2] for u in expected.user_id]
        assert found.age.tolist() == [25 + u % 3 for u in expected.user_id]
        assert found.zip_code.tolist() == [f"0{u:04}" for u in expected.user_id]
        assert found.occupation.tolist() == [str(u % 20) for u in expected.user_id]
    assert written == {day: (len(rows), int(rows.liked.sum())) for day, rows in found.groupby("day") if len(rows)}
    assert prepare(tmp_path / "raw", tmp_path / "log") == {}  # All days are there.


def test_an_archive_is_read_as_its_directory(tmp_path):
    write_1m(tmp_path / "raw", made_ratings())
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        for path in (tmp_path / "raw" / "ml-1m").iterdir():
            archive.write(path, f"ml-1m/{path.name}")
    prepare(tmp_path / "ml-1m.zip", tmp_path / "zipped")
    prepare(tmp_path / "raw" / "ml-1m", tmp_path / "plain")
    pd.testing.assert_frame_equal(read(tmp_path / "zipped"), read(tmp_path / "plain"))


def split_by_hand(ratings: pd.DataFrame) -> list[pd.DataFrame]:
    """The split's rules, row by row."""
    rows = [(*row, row[2] >= 4) for row in ratings.to_numpy().tolist()]
    while True:
        users, movies = Counter(r[0] for r in rows if r[4]), Counter(r[1] for r in rows if r[4])
        kept = [r for r in rows if users[r[0]] >= 5 and movies[r[1]] >= 5]
        if len(kept) == len(rows):
            break
        rows = kept
    zone = timezone(timedelta(hours=8))
    days = [datetime.fromtimestamp(r[3], zone).date() for r in rows]
    index = [(day - min(days)).days for day in days]
    train = [r for r, i in zip(rows, index, strict=True) if i <= 0.8 * max(index)]
    users, movies = {r[0] for r in train}, {r[1] for r in train}
    known = [(r, i) for r, i in zip(rows, index, strict=True) if r[0] in users and r[1] in movies]
    validation = [r for r, i in known if 0.8 * max(index) < i <= 0.9 * max(index)]
    test = [r for r, i in known if i > 0.9 * max(index)]
    names = ["user_id", "movie_id", "rating", "timestamp", "liked"]
    parts = [pd.DataFrame(part, columns=names) for part in (train, validation, test)]
    return [p.sort_values(["timestamp", "user_id", "movie_id"]).reset_index(drop=True) for p in parts]


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratings, and the log of their split with lists of three."""
    path, ratings = tmp_path_factory.mktemp("movielens"), made_ratings()
    write_1m(path / "raw", ratings)
    written = prepare(path / "raw", path / "log", "rechorus", last=3)
    found = read(path / "log")
    assert written == {d: ((found.day == d).sum(), found.liked[found.day == d].sum()) for d in SPLIT_DAYS}
    return ratings, found


def test_the_split_is_that_of_its_rules(split):
    ratings, found = split
    parts = split_by_hand(ratings)
    assert sum(map(len, parts)) < len(ratings)  # Some users and movies have gone.
    for day, expected in zip(SPLIT_DAYS, parts, strict=True):
        assert len(expected) > 20
        rows = found[found.day == day].reset_index(drop=True)
        for name in ("user_id", "movie_id", "timestamp", "liked"):
            np.testing.assert_array_equal(rows[name], expected[name], err_msg=f"{day} {name}")
        zone = timezone(timedelta(hours=8))
        times = [datetime.fromtimestamp(t, zone) for t in expected.timestamp]
        assert rows.hour.tolist() == [time.hour for time in times]
        assert rows.weekday.tolist() == [time.weekday() for time in times]


def test_a_history_is_what_the_user_liked_strictly_before(split):
    _, found = split
    likes = found[found.liked == 1].sort_values(["timestamp", "movie_id"])
    lengths, later_parts = set(), 0
    for row in found.itertuples():
        before = likes[(likes.user_id == row.user_id) & (likes.timestamp < row.timestamp)].tail(3)
        assert row.liked_movie_id.tolist() == before.movie_id.tolist()
        ago = (row.timestamp - before.timestamp.to_numpy()) / 86_400
        np.testing.assert_allclose(row.liked_days_ago, ago, rtol=1e-6)
        lengths.add(len(before))
        later_parts += (before.day > SPLIT_DAYS[0]).any()
    assert lengths == {0, 1, 2, 3}
    assert later_parts  # Likes of validation and test count too, where they are earlier.


def test_no_label_reaches_its_own_history_or_an_earlier_one(tmp_path, split):
    ratings, found = split
    moment = int(np.quantile(found.timestamp, 0.7))
    # Others who like every movie, and movies that every user likes: no row's stay depends on the flipped labels.
    pairs = [(u, m) for u in range(101, 106) for m in range(1, 111)] + [
        (u, m) for u in range(1, 41) for m in range(101, 111)
    ]
    enough = pd.DataFrame(pairs, columns=["user_id", "movie_id"]).assign(rating=5, timestamp=START)
    base = pd.concat([ratings, enough])
    flipped = base.assign(rating=np.where(base.timestamp >= moment, 6 - base.rating, base.rating))
    logs = []
    for name, frame in {"base": base, "flipped": flipped}.items():
        write_1m(tmp_path / name, frame)
        prepare(tmp_path / name, tmp_path / f"{name}-log", "rechorus", last=3)
        logs.append(read(tmp_path / f"{name}-log"))
    keys = ["user_id", "movie_id", "timestamp"]
    pairs = logs[0].merge(logs[1], on=keys)
    assert (pairs.liked_x != pairs.liked_y).sum() > 50
    early = pairs[pairs.timestamp <= moment]
    assert len(early) > 500
    assert [list(x) for x in early.liked_movie_id_x] == [list(x) for x in early.liked_movie_id_y]


def broken(path: Path, name: str, text: str | None):
    write_1m(path, made_ratings(200))
    file = path / "ml-1m" / name
    file.unlink() if text is None else file.write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("movies.dat", None, "movies.dat is missing; copy the data set again"),
        ("ratings.dat", None, "neither ratings.dat, u.data nor ratings.csv is in it; give an archive of MovieLens"),
        ("ratings.dat", "1::2::5::978300760\n1::2::x::978300760\n", r"ratings.dat: .*'x'; mend the line or copy"),
        ("ratings.dat", "1::2::5::978300760\n1::2::5\n", r"ratings.dat: .*Expected 4 columns, got 3.*; mend the line"),
        ("ratings.dat", "1::2::5::978300760\n1::::5::978300760\n", r"ratings.dat: row 1 .* has no movie_id"),
        ("ratings.dat", "", "no ratings; copy it again"),
    ],
)
def test_a_damaged_data_set_is_one_line(tmp_path, name, text, said):
    broken(tmp_path / "raw", name, text)
    with pytest.raises(InputError, match=said):
        prepare(tmp_path / "raw", tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "ml.zip").write_bytes(b"no zip")
    for raw in (tmp_path / "ml.zip", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"cannot be read .*; give the archive or its directory"):
            prepare(raw, tmp_path / "log")


def test_a_split_does_not_join_real_days(tmp_path):
    write_1m(tmp_path / "raw", made_ratings())
    prepare(tmp_path / "raw", tmp_path / "log")
    with pytest.raises(InputError, match="holds date=2000-04-25, no day of the split; choose another place"):
        prepare(tmp_path / "raw", tmp_path / "log", "rechorus")


def test_too_few_rows_for_a_split_are_said(tmp_path):
    write_1m(tmp_path / "raw", made_ratings(200))
    with pytest.raises(InputError, match="the training part of the split is empty; take the whole data set"):
        prepare(tmp_path / "raw", tmp_path / "log", "rechorus")
