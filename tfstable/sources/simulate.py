"""A seeded simulator of a short-video feed; it writes the true probabilities into the log."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from tfstable.data.day_writer import ROW_GROUP, day_writer
from tfstable.errors import InputError
from tfstable.sources.feed_memory import Memory
from tfstable.sources.feed_world import CATEGORIES, COUNTRIES, DEVICES, ROWS, TAGS_PER_CATEGORY, Day, day_of_feed

#: The column with the true probability of each binary label. For evaluation only, never a feature: the exact AUC of the
#: label against it is the best that a model can expect.
TRUE_PROBABILITY = {"click": "true_click", "like": "true_like", "share": "true_share", "follow": "true_follow"}

_USER_COLUMNS = {
    "user_id": pa.int64(),
    "user_country": pa.string(),
    "user_device": pa.string(),
    "user_age_days": pa.float32(),
    "user_followed": pa.float32(),
    "weight": pa.float32(),
}
_VIDEO_COLUMNS = {
    "video_id": pa.int64(),
    "author_id": pa.string(),
    "category": pa.string(),
    "tags": pa.list_(pa.string()),
    "duration_s": pa.float32(),
    "video_age_days": pa.float32(),
    "author_followers": pa.float32(),
}
_LABELS = dict.fromkeys(TRUE_PROBABILITY, pa.int64()) | {"watch_time_s": pa.float32()}

#: Columns of a simulated day. The partition's name holds the date, `date=YYYY-MM-DD`.
SCHEMA = pa.schema(
    _USER_COLUMNS
    | _VIDEO_COLUMNS
    | {"hour": pa.int64()}
    | _LABELS
    | dict.fromkeys(TRUE_PROBABILITY.values(), pa.float32())
)
#: Of a feed with a memory, too: the probability of a click for whoever knows all but the user's history.
WITHOUT_HISTORY = "true_click_without_history"
_CHUNK = 16 * ROW_GROUP  # Rows made at a time: bounds the memory of a large day.
#: Impressions by hour, up to a factor: fewest at night, a hump at noon, most in the evening.
_RHYTHM = 1.2 + 0.8 * np.sin(2 * np.pi * (np.arange(24) - 13) / 24) + 0.2 * np.sin(4 * np.pi * (np.arange(24) - 9) / 24)


def simulate(
    out: Path,
    *,
    days: int = 14,
    rows_per_day: int = 50_000,
    seed: int = 0,
    first_day: date = date(2025, 1, 1),
    users: int = 5_000,
    videos: int = 2_000,
    shock_days: Sequence[int] = (),
    taste_change_days: Sequence[int] = (),
    memory: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> None:
    """Writes a day log of impressions in a short-video feed; both ids and side features carry the signal.

        logit P(click) = base(day) + user + video + taste_u(day) . taste_v + country x category(day) + device x hour
        P(like) = P(click) P(like | click), the same for share;  follow is known (not null) where clicked

    Users join and leave, videos are born and fade, tastes and base rates drift. About 30% of the impressions are
    clicked, 2% liked, 0.5% shared; 3% of the clicks lead to a follow. Watch time is heavy-tailed. Rows are sorted by
    time. A day is a pure function of (seed, its number, users, videos, rows_per_day, whether it is a shock day, how
    many taste changes there were): its file is identical for any number of days (with the same versions of NumPy and
    pyarrow on the same kind of processor). With a memory it also depends on the days before it.

    Columns, see `SCHEMA`:

    - features: user_id, video_id, hour (int64); author_id, user_country, user_device, category (string); tags (list of
      strings, perhaps empty); duration_s, video_age_days, user_age_days (5% null), author_followers (about 3% null) and
      user_followed (float32, the last two heavy-tailed);
    - labels: click, like, share, follow (int64), watch_time_s (float32, seconds);
    - the example weight `weight` (float32, 0.2 to 3, about 1 on average), lower for users with many impressions;
    - the true probabilities of `TRUE_PROBABILITY` (float32); the one of follow is given a click.

    Args:
        out: Directory of the new log; must not hold a log yet.
        days: Number of days, at least 1.
        rows_per_day: Impressions per day, at least 1. Memory is bounded for any number.
        seed: Seed, at least 0.
        first_day: Date of day 0.
        users: Approximate number of users per day, at least 100.
        videos: Approximate number of videos per day, at least 20.
        shock_days: Numbers of days, 0 to days - 1, on which the distribution shifts abruptly, for that day only.
        taste_change_days: Numbers of days, 0 to days - 1, on which tastes change for good. Users, videos and their
            columns stay; who likes what is drawn anew, so what a model knows of ids and of sides is no longer true.
        memory: What users clicked on earlier days moves what they click next.
        progress: Called with the rows done, the rows in all, and the next step.

    Raises:
        InputError: If an argument is outside its domain, `out` already holds a log, or `out` cannot be written.
    """
    out = Path(out)
    least = {"days": 1, "rows_per_day": 1, "seed": 0, "users": 100, "videos": 20}
    given = {"days": days, "rows_per_day": rows_per_day, "seed": seed, "users": users, "videos": videos}
    for name, value in given.items():
        if value < least[name]:
            raise InputError(f"{name} must be at least {least[name]}, got {value}")
    for name, numbers in {"shock_days": shock_days, "taste_change_days": taste_change_days}.items():
        if wrong := [day for day in numbers if not 0 <= day < days]:
            raise InputError(f"{name} must be between 0 and days - 1 = {days - 1}, got {wrong[0]}")
    if out.is_dir() and any(child.name.startswith("date=") for child in out.iterdir()):
        raise InputError(f"{out}: already holds a log; remove it or choose another directory")

    remembered = Memory(seed) if memory else None
    schema = SCHEMA.append(pa.field(WITHOUT_HISTORY, pa.float32())) if memory else SCHEMA
    for day in range(days):
        changes = sum(first <= day for first in set(taste_change_days))
        feed = day_of_feed(seed, day, users, videos, shock=day in shock_days, taste_changes=changes)
        user_table, video_table = _user_table(feed), _video_table(feed)
        today = first_day + timedelta(days=day)
        if remembered:
            remembered.begin(day, feed.users)
        with day_writer(out, today, schema) as writer:
            for start in range(0, rows_per_day, _CHUNK):
                progress(day * rows_per_day + start, days * rows_per_day, f"simulating {today}")
                rng = np.random.default_rng([seed, ROWS, day, start // _CHUNK])
                end = min(start + _CHUNK, rows_per_day)
                hour = _hours(np.arange(start, end), rows_per_day)
                rows = _impressions(rng, feed, hour, user_table, video_table, remembered)
                writer.write_table(rows, row_group_size=ROW_GROUP)
    progress(days * rows_per_day, days * rows_per_day, "done")


def _impressions(
    rng: np.random.Generator,
    feed: Day,
    hour: np.ndarray,
    user_table: pa.Table,
    video_table: pa.Table,
    memory: Memory | None,
) -> pa.Table:
    """Rows of the log, one per `hour` given."""
    users, videos, n = feed.users, feed.videos, len(hour)
    u, v = _draw(rng, users.activity, n), _draw(rng, videos.popularity, n)  # (n,) each
    match = np.einsum("nd,nd->n", users.taste[u], videos.taste[v])  # (n,)
    side = feed.click_by_country[users.country[u], videos.category[v]] + feed.click_by_hour[users.device[u], hour]

    logit = -1.1 + feed.click + users.click[u] + videos.click[v] + 0.6 * match + side
    p_click = _sigmoid(logit)
    if memory:
        p_click, p_elsewhere = np.split(_sigmoid(logit + memory.logits(u, videos.taste[v])), [1])  # (worlds, n)
        p_click = p_click[0]
    p_like = p_click * _sigmoid(-3.75 + users.like[u] + videos.like[v] + 0.5 * match)
    p_share = p_click * _sigmoid(-5.2 + users.share[u] + videos.share[v] + 0.3 * match)
    p_follow = _sigmoid(-4.6 + users.follow[u] + videos.follow[v] + 0.6 * match)  # given a click

    chance = rng.random((4, n), dtype=np.float32)
    click = chance[0] < p_click
    if memory:
        memory.watch(np.vstack([click, memory.chances(n) < p_elsewhere]), u, videos.taste[v])
    like = click & (chance[1] < p_like / p_click)
    share = click & (chance[2] < p_share / p_click)
    follow = chance[3] < p_follow
    noise = rng.standard_normal(n, dtype=np.float32)
    duration = videos.duration_s[v]
    watched = duration * np.minimum(4, np.exp(-0.7 + 0.4 * match + 0.8 * noise))  # A video may be watched again.
    watch_time = np.where(click, watched, np.minimum(duration, np.exp(0.3 + 0.8 * noise)))

    user_rows, video_rows = user_table.take(u), video_table.take(v)
    columns = {name: rows[name] for rows in (user_rows, video_rows) for name in rows.column_names}
    columns |= {
        "hour": hour,
        "click": click.astype(np.int64),
        "like": like.astype(np.int64),
        "share": share.astype(np.int64),
        "follow": pa.array(follow.astype(np.int64), mask=~click),
        "watch_time_s": watch_time,
        "true_click": p_click,
        "true_like": p_like,
        "true_share": p_share,
        "true_follow": p_follow,
    }
    schema = SCHEMA
    if memory:
        schema = SCHEMA.append(pa.field(WITHOUT_HISTORY, pa.float32()))
        columns[WITHOUT_HISTORY] = p_elsewhere.mean(axis=0)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _user_table(feed: Day) -> pa.Table:
    users = feed.users
    columns = {
        "user_id": users.id,
        "user_country": _names(COUNTRIES, users.country),
        "user_device": _names(DEVICES, users.device),
        "user_age_days": _nullable(users.age_days),
        "user_followed": _nullable(users.followed),
        "weight": np.clip(1.45 * users.activity**-0.5, 0.2, 3),
    }
    return pa.table(columns, schema=pa.schema(_USER_COLUMNS))


def _video_table(feed: Day) -> pa.Table:
    videos = feed.videos
    names = [f"{category}_{k}" for category in CATEGORIES for k in range(TAGS_PER_CATEGORY)]
    video, tag = np.nonzero(videos.tags)
    offsets = np.searchsorted(video, np.arange(len(videos.id) + 1)).astype(np.int32)
    columns = {
        "video_id": videos.id,
        "author_id": pa.array([f"author{author:06d}" for author in videos.author]),
        "category": _names(CATEGORIES, videos.category),
        "tags": pa.ListArray.from_arrays(offsets, _names(names, videos.category[video] * TAGS_PER_CATEGORY + tag)),
        "duration_s": _nullable(videos.duration_s),
        "video_age_days": _nullable(videos.age_days),
        "author_followers": _nullable(videos.author_followers),
    }
    return pa.table(columns, schema=pa.schema(_VIDEO_COLUMNS))


def _names(names: Sequence[str], index: np.ndarray) -> pa.Array:
    return pa.array(names).take(pa.array(index))


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _draw(rng: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
    """`size` indices, each with a probability proportional to its weight."""
    upto = np.cumsum(weights, dtype=np.float64)
    return np.searchsorted(upto, rng.random(size) * upto[-1], side="right")


def _hours(row: np.ndarray, rows: int) -> np.ndarray:
    """Hour (0..23) of each row; a day's rows are sorted by time and follow the day's rhythm."""
    upto = np.cumsum(_RHYTHM) / np.sum(_RHYTHM)
    return np.minimum(np.searchsorted(upto, (row + 0.5) / rows, side="right"), 23)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
