"""The CTR split of MovieLens of a benchmark, with what each user liked before.

Reference: Li, Wang, Zhang et al., "ReChorus2.0: A Modular and Task-Flexible Recommendation Library", 2024.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

SPLIT_DAYS = (date(2000, 1, 1), date(2000, 1, 2), date(2000, 1, 3))  # Training, validation, test: names, not days.
CORE = 5  # Likes that a user and a movie have at least.
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class History:
    """What users liked, and where the earlier likes of each row are.

    Attributes:
        movie: `(likes,)` int64, ordered by user, time and movie.
        timestamp: `(likes,)` int64, seconds.
        begin, end: `(rows,)`: the row's likes are `begin` to `end`, the newest last.
    """

    movie: np.ndarray
    timestamp: np.ndarray
    begin: np.ndarray
    end: np.ndarray


@dataclass(frozen=True)
class Split:
    """Rows of a part of a split, whose columns of lists are made as they are written."""

    ratings: pa.Table
    history: History | None = None

    def __len__(self) -> int:
        return len(self.ratings)

    @property
    def liked(self) -> int:
        """How many of the rows are liked."""
        return int(self.ratings["liked"].to_numpy().sum())

    def rows(self, start: int, end: int) -> pa.Table:
        """Returns some of the rows, with `liked_movie_id` and `liked_days_ago` where there is a history."""
        table = self.ratings.slice(start, end - start)
        if self.history is None:
            return table
        begin, stop = self.history.begin[start:end], self.history.end[start:end]
        offsets = np.concatenate([[0], np.cumsum(stop - begin)])
        places = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], stop - begin)
        own = np.repeat(table["timestamp"].to_numpy(), stop - begin)
        ago = ((own - self.history.timestamp[places]) / SECONDS_A_DAY).astype(np.float32)
        lists = {"liked_movie_id": self.history.movie[places], "liked_days_ago": ago}
        for name, values in lists.items():
            column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
            table = table.append_column(name, column)
        return table


def split_rows(ratings: pa.Table, day: np.ndarray, last: int) -> tuple[Split, Split, Split]:
    """Splits ratings by time into training, validation and test rows.

    1. Users and movies with fewer than five liked rows go, until all have five.
    2. Days are counted from the first row that stays. Training rows are those up to 80% of the last day's number,
       validation rows those up to 90%, the others test rows.
    3. Of validation and test, rows of a user or movie without a training row go.

    Each row then has two lists, newest last: `liked_movie_id` (int64), the movies that its user liked strictly before
    its `timestamp`, in any part, and `liked_days_ago` (float32), how long before. Ties are no history.

    Args:
        ratings: Rows ordered by time, with `user_id`, `movie_id`, `timestamp` and `liked`.
        day: `(rows,)` number of the day of each row, in the benchmark's UTC+8.
        last: Newest likes to keep in a list.
    """
    user, movie, liked = (ratings[name].to_numpy() for name in ("user_id", "movie_id", "liked"))
    kept = _core(user, movie, liked == 1)
    number = day - day[kept].min() if kept.any() else day
    final = number[kept].max() if kept.any() else 0
    training = kept & (10 * number <= 8 * final)
    known = np.isin(user, user[training]) & np.isin(movie, movie[training])
    validation = kept & ~training & (10 * number <= 9 * final) & known
    test = kept & (10 * number > 9 * final) & ~training & known
    begin, end, likes = _earlier(user, ratings["timestamp"].to_numpy(), movie, training | validation | test, liked == 1)
    begin = np.maximum(begin, end - last)
    timestamp = ratings["timestamp"].to_numpy()[likes]

    def part(mask: np.ndarray) -> Split:
        return Split(ratings.filter(pa.array(mask)), History(movie[likes], timestamp, begin[mask], end[mask]))

    return part(training), part(validation), part(test)


def _core(user: np.ndarray, movie: np.ndarray, liked: np.ndarray) -> np.ndarray:
    """Which rows stay: of users and movies that both have `CORE` liked rows among those that stay."""
    users, user = np.unique(user, return_inverse=True)
    movies, movie = np.unique(movie, return_inverse=True)
    kept = np.ones(len(user), bool)
    while True:
        enough = [
            np.bincount(ids[kept & liked], minlength=len(of)) >= CORE for ids, of in ((user, users), (movie, movies))
        ]
        still = kept & enough[0][user] & enough[1][movie]
        if (still == kept).all():
            return kept
        kept = still


def _earlier(
    user: np.ndarray, timestamp: np.ndarray, movie: np.ndarray, counts: np.ndarray, liked: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each row's earlier likes begin and end, among the places of all likes, ordered by user, time and movie."""
    likes = np.flatnonzero(counts & liked)
    likes = likes[np.lexsort((movie[likes], timestamp[likes], user[likes]))]
    if not len(user):
        return likes, likes, likes
    _, user = np.unique(user, return_inverse=True)
    time = timestamp - timestamp.min()
    moment = user * (time.max() + 1) + time  # One number that orders by user and time.
    end = np.searchsorted(moment[likes], moment, side="left")
    begin = np.searchsorted(moment[likes], moment - time, side="left")
    return begin, end, likes
