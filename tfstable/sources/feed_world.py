"""The simulated feed's users and videos on a day, as a pure function of (seed, day).

Users and videos arrive in daily cohorts, each drawn from its own generator. Everything that drifts is a sum of
sinusoids with random periods and phases. So any day can be made without the days before it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TASTES = 4  # Width of the latent tastes; no column shows them.
USER_LIFE, VIDEO_LIFE = 100, 20  # Days from joining to leaving, from upload to removal.
COUNTRIES = ("BR", "US", "IN", "ID", "MX", "DE", "JP", "FR", "TR", "VN", "EG", "NG")
DEVICES = ("android", "ios", "web", "tv")
CATEGORIES = (
    *("music", "comedy", "dance", "sports", "gaming", "food", "beauty", "travel"),
    *("pets", "cars", "news", "science", "crafts", "film", "family", "fitness"),
)
TAGS_PER_CATEGORY = 8

# Purposes of the random generators; a generator's seed is (seed, purpose, day).
_CONSTANTS, _AUTHORS, _USERS, _VIDEOS, _DRIFT, _SHOCK, ROWS = range(7)


class Users(NamedTuple):
    """Users of a day; arrays of shape (users,) unless stated otherwise."""

    id: np.ndarray
    activity: np.ndarray  # share of impressions, up to a factor
    country: np.ndarray  # index into COUNTRIES
    device: np.ndarray  # index into DEVICES
    age_days: np.ndarray  # since joining; NaN where unknown
    followed: np.ndarray  # authors followed, heavy-tailed
    click: np.ndarray  # logit of the user's readiness to click, like, share, follow
    like: np.ndarray
    share: np.ndarray
    follow: np.ndarray
    taste: np.ndarray  # (users, TASTES) of this day


class Videos(NamedTuple):
    """Videos of a day; arrays of shape (videos,) unless stated otherwise."""

    id: np.ndarray
    popularity: np.ndarray  # share of impressions, up to a factor; fades with age
    author: np.ndarray
    category: np.ndarray  # index into CATEGORIES
    tags: np.ndarray  # (videos, TAGS_PER_CATEGORY) bool, which tags of the category it has
    duration_s: np.ndarray
    age_days: np.ndarray
    author_followers: np.ndarray  # heavy-tailed; NaN where unknown
    click: np.ndarray  # logit of the video's attraction
    like: np.ndarray
    share: np.ndarray
    follow: np.ndarray
    taste: np.ndarray  # (videos, TASTES)


class Day(NamedTuple):
    """Everything that all impressions of a day share."""

    users: Users
    videos: Videos
    click: float  # logit added to every impression
    click_by_country: np.ndarray  # (countries, categories) logits
    click_by_hour: np.ndarray  # (devices, 24) logits


def day_of_feed(seed: int, day: int, users: int, videos: int, shock: bool, taste_changes: int = 0) -> Day:
    """Makes the feed of one day.

    On a shock day tastes change, one category floods the feed and attracts every user, and the base rate jumps by a
    logit of 1.5 up or down. Other days are unaffected.

    Args:
        seed: Seed of the world.
        day: Number of the day, from 0.
        users: Approximate number of users; at least 1.
        videos: Approximate number of videos; at least 1.
        shock: Whether this is a shock day.
        taste_changes: How often tastes have changed for good. All that moves labels, but for a few columns, is drawn
            anew each time: of countries, categories, tags, authors, users and videos. Their columns stay.
    """
    anew = [taste_changes] if taste_changes else []
    rng = np.random.default_rng([seed, _CONSTANTS, *anew])
    country_taste = rng.normal(size=(len(COUNTRIES), TASTES))
    category_taste = rng.normal(size=(len(CATEGORIES), TASTES))
    tag_taste = rng.normal(size=(len(CATEGORIES), TAGS_PER_CATEGORY, TASTES))
    click_by_country = 0.35 * rng.normal(size=(len(COUNTRIES), len(CATEGORIES)))
    click_by_hour = 0.3 * np.sin(2 * np.pi * (np.arange(24) / 24 + rng.random((len(DEVICES), 1))))
    click_by_hour += 0.2 * rng.normal(size=(len(DEVICES), 1))

    born = max(1, users // USER_LIFE)
    joined = (
        _users_joined(seed, first, day, born, country_taste, anew) for first in range(day - USER_LIFE + 1, day + 1)
    )
    the_users = Users(*map(_joined, zip(*joined, strict=True)))
    born = max(1, videos // VIDEO_LIFE)
    uploaded = (
        _videos_uploaded(seed, first, day, born, category_taste, tag_taste, anew)
        for first in range(day - VIDEO_LIFE + 1, day + 1)
    )
    the_videos = Videos(*map(_joined, zip(*uploaded, strict=True)))

    rng = np.random.default_rng([seed, _DRIFT])
    base = 0.15 * _wave(rng, day, 7, 7) + 0.15 * _wave(rng, day, 20, 40)
    click_by_country += 0.3 * _wave(rng, day, 10, 30, len(CATEGORIES))
    if shock:
        rng = np.random.default_rng([seed, _SHOCK, day])
        flood = rng.integers(len(CATEGORIES))
        base += rng.choice([-1.5, 1.5])
        click_by_country[:, flood] += 1.0
        popularity = the_videos.popularity * np.where(the_videos.category == flood, 10, 1)
        the_videos = the_videos._replace(popularity=popularity)
        the_users = the_users._replace(taste=np.roll(the_users.taste, 1, axis=1))
    return Day(the_users, the_videos, float(base), click_by_country.astype("float32"), click_by_hour.astype("float32"))


def _users_joined(seed: int, joined: int, day: int, size: int, country_taste: np.ndarray, anew: Sequence[int]) -> Users:
    """The users who joined on day `joined`, in their state on `day`."""
    rng = np.random.default_rng([seed, _USERS, joined + USER_LIFE])
    country = _zipf(rng, len(COUNTRIES), size)
    device = rng.choice(len(DEVICES), size, p=[0.55, 0.3, 0.1, 0.05])
    angle = 2 * np.pi * (day / rng.uniform(120, 360, size))[:, None]
    own, other = rng.normal(size=(2, size, TASTES))
    age = day - joined + rng.random(size)
    keen = rng.normal(size=size)
    activity = rng.lognormal(sigma=1.0, size=size)
    is_age_known = rng.random(size) >= 0.05
    followed = np.floor(rng.lognormal(3 + 0.4 * keen, 1.2))
    click, like, share, follow = rng.normal(size=(4, size))
    if anew:
        rng = np.random.default_rng([seed, _USERS, joined + USER_LIFE, *anew])
        own, other = rng.normal(size=(2, size, TASTES))
        click, like, share, follow = rng.normal(size=(4, size))
    # A taste turns slowly from a first direction towards a second.
    taste = 0.5 * country_taste[country] + 0.85 * (np.cos(angle) * own + np.sin(angle) * other)
    return Users(
        id=(joined + USER_LIFE) * size + np.arange(size),
        activity=activity,
        country=country,
        device=device,
        age_days=np.where(is_age_known, age, np.nan),
        followed=followed,
        click=0.7 * click + 0.3 * keen + 0.4 * np.exp(-age / 10),
        like=0.8 * like + 0.5 * keen,
        share=1.0 * share,
        follow=0.7 * follow + 0.5 * keen,
        taste=taste / np.sqrt(TASTES),
    )


def _videos_uploaded(
    seed: int,
    uploaded: int,
    day: int,
    size: int,
    category_taste: np.ndarray,
    tag_taste: np.ndarray,
    anew: Sequence[int],
) -> Videos:
    """The videos uploaded on day `uploaded`, in their state on `day`. Authors never leave."""
    authors = max(1, size * 4)
    rng = np.random.default_rng([seed, _AUTHORS])
    author_category = rng.integers(len(CATEGORIES), size=authors)
    author_taste, quality = rng.normal(size=(authors, TASTES)), rng.normal(size=authors)
    followers = np.floor(rng.lognormal(7 + 1.0 * quality, 1.5))
    followers[rng.random(authors) < 0.03] = np.nan
    if anew:
        author_taste = np.random.default_rng([seed, _AUTHORS, 0, *anew]).normal(size=(authors, TASTES))

    rng = np.random.default_rng([seed, _VIDEOS, uploaded + VIDEO_LIFE])
    author = _zipf(rng, authors, size, exponent=0.7)
    category = np.where(rng.random(size) < 0.8, author_category[author], rng.integers(len(CATEGORIES), size=size))
    tags = rng.random((size, TAGS_PER_CATEGORY)) < 0.45 * np.sqrt(rng.random((size, 1)))
    tag_sum = np.einsum("vk,vkd->vd", tags.astype(float), tag_taste[category])
    own = rng.normal(size=(size, TASTES))
    age = day - uploaded + rng.random(size)
    duration = np.clip(rng.lognormal(3.2, 0.8, size), 3, 600)
    attraction = rng.normal(size=size)
    popularity = rng.lognormal(0.4 * attraction, 1.2) * np.exp(-age / rng.uniform(1.5, 8, size))
    like, share, follow = rng.normal(size=(3, size))
    if anew:
        rng = np.random.default_rng([seed, _VIDEOS, uploaded + VIDEO_LIFE, *anew])
        own = rng.normal(size=(size, TASTES))
        attraction, like, share, follow = rng.normal(size=(4, size))
    taste = (
        0.9 * category_taste[category]
        + 0.35 * author_taste[author]
        + 0.35 * tag_sum / np.sqrt(np.maximum(1, tags.sum(axis=1)))[:, None]
        + 0.2 * own
    )
    return Videos(
        id=(uploaded + VIDEO_LIFE) * size + np.arange(size),
        popularity=popularity,
        author=author,
        category=category,
        tags=tags,
        duration_s=duration,
        age_days=age,
        author_followers=followers[author],
        click=0.6 * attraction + 0.3 * quality[author] - 0.25 * np.log(duration / 25) - 0.03 * age,
        like=0.5 * like + 0.3 * attraction + 0.4 * quality[author],
        share=1.0 * share,
        follow=0.7 * quality[author] + 0.4 * follow,
        taste=taste,
    )


def _joined(cohorts: tuple[np.ndarray, ...]) -> np.ndarray:
    """One array of all cohorts; float64 becomes float32, the type of the rows."""
    whole = np.concatenate(cohorts)
    return whole.astype(np.float32) if whole.dtype == np.float64 else whole


def _zipf(rng: np.random.Generator, values: int, size: int, exponent: float = 1.0) -> np.ndarray:
    """`size` draws of 0..values-1, the k-th with a probability proportional to (k + 1)^-exponent."""
    p = np.arange(1, values + 1) ** -exponent
    return rng.choice(values, size, p=p / p.sum())


def _wave(rng: np.random.Generator, day: int, shortest: float, longest: float, size: int | None = None) -> np.ndarray:
    """Sines of amplitude 1 at `day`, with random phases and periods in days."""
    return np.sin(2 * np.pi * (day / rng.uniform(shortest, longest, size) + rng.random(size)))
