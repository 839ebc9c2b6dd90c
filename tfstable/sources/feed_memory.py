"""A feed whose users remember: what they clicked on earlier days moves what they click next."""

import numpy as np

from tfstable.sources.feed_world import TASTES, Users

PULL = 1.0  # Logit of a video in the direction of a full memory, per unit of its taste.
FADES = 0.5  # Share of a memory that is left after a day.
OTHER_WORLDS = 16  # Over which the probability without a history is averaged.
_CHANCES = 100  # With the seed and the day: the seed of the other worlds' clicks.


class Memory:
    """What each user clicked on earlier days, here and in other worlds.

        memory_u = sum over clicked videos of FADES^(days ago) taste_v
        logit P(click) += PULL memory_u . taste_v / (1 + |memory_u|)

    In the other worlds the same users see the same videos, and other chances decide what they click. The average of a
    click's probability over them is what is known of it without the history, by whoever knows all else.

    Args:
        seed: Seed of the feed.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._first_user: int | None = None
        self._memory = np.zeros((OTHER_WORLDS + 1, 0, TASTES), np.float32)  # (worlds, users, tastes); world 0 is here.
        self._today = self._memory
        self._rng = np.random.default_rng(seed)

    def begin(self, day: int, users: Users) -> None:
        """Begins a day, the one after the last: its users remember the days before."""
        here = len(users.id)
        left = (
            0 if self._first_user is None else int(users.id[0]) - self._first_user
        )  # Users who are not there any more.
        known = (FADES * self._memory + self._today)[:, left:]
        self._memory = np.zeros((OTHER_WORLDS + 1, here, TASTES), np.float32)
        self._memory[:, : known.shape[1]] = known
        self._today = np.zeros_like(self._memory)
        self._first_user = int(users.id[0])
        self._rng = np.random.default_rng([self._seed, _CHANCES, day])

    def logits(self, u: np.ndarray, taste: np.ndarray) -> np.ndarray:
        """Returns what memory adds to the logit of a click: (worlds, n), of users `u` (n,) at tastes (n, TASTES)."""
        memory = self._memory / (1 + np.linalg.norm(self._memory, axis=2, keepdims=True))
        return PULL * np.stack([np.einsum("nd,nd->n", world[u], taste) for world in memory])

    def watch(self, clicks: np.ndarray, u: np.ndarray, taste: np.ndarray) -> None:
        """Keeps the clicks, (worlds, n) booleans, of users `u` at tastes (n, TASTES) for tomorrow."""
        users = self._today.shape[1]
        for world, clicked in enumerate(clicks):
            for d in range(TASTES):
                self._today[world, :, d] += np.bincount(u[clicked], taste[clicked, d], users).astype(np.float32)

    def chances(self, size: int) -> np.ndarray:
        """Returns numbers from 0 to 1, (OTHER_WORLDS, size): a click happens where its probability is greater."""
        return self._rng.random((OTHER_WORLDS, size), dtype=np.float32)
