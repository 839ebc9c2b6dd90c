"""Orders of the rows of a pass: pure functions of (seed, window, pass, buffer), from the strongest to the gentlest."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Shuffle(Protocol):
    """An order. A key is a tuple of integers whose first is the seed."""

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        """Returns the reading order, `(units,)`, of a log's units when they do not fit into one buffer."""

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int, groups: np.ndarray | None = None) -> np.ndarray:
        """Returns the order, `(rows,)`, of a buffer's rows; every `batch_size` rows in that order make a batch.

        Args:
            key: The key.
            rows: Rows of the buffer.
            batch_size: Rows of a batch.
            groups: `(rows,)` int64, the number of each row's group in the buffer, -1 without one; None: there are none.
        """


@dataclass(frozen=True)
class FullShuffle:
    """Every order of the rows is equally likely.

    Examples:
        The order is a function of its key:

        >>> from tfstable.data.shuffle import FullShuffle
        >>> order = FullShuffle().rows((0, 1), rows=4, batch_size=2)
        >>> sorted(order.tolist()), bool((order == FullShuffle().rows((0, 1), rows=4, batch_size=2)).all())
        ([0, 1, 2, 3], True)
    """

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        return np.random.default_rng(key).permutation(units)

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int, groups: np.ndarray | None = None) -> np.ndarray:
        return np.random.default_rng(key).permutation(rows)


@dataclass(frozen=True)
class BlockShuffle:
    """The log's order, in which each run of `size` rows, a block, is shuffled within itself.

    Under two seeds a row lands in the same batch, or in another batch of its block if a block spans several batches. A
    block never crosses the end of a buffer.
    """

    size: int

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        return np.arange(units)

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int, groups: np.ndarray | None = None) -> np.ndarray:
        within = np.random.default_rng(key).random(rows)
        return np.lexsort((within, np.arange(rows) // self.size))


@dataclass(frozen=True)
class SwapShuffle:
    """A full shuffle that is the same for every seed; the seed only decides which neighbouring batches swap.

    Each pair of full batches of a buffer (0 and 1, 2 and 3, ...) is swapped with probability 1/2. So every seed has the
    same batches, and moves each by at most one step.
    """

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        return FullShuffle().units(key[1:], units)

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int, groups: np.ndarray | None = None) -> np.ndarray:
        order = FullShuffle().rows(key[1:], rows, batch_size)
        pairs = rows // (2 * batch_size)
        batches = order[: pairs * 2 * batch_size].reshape(pairs, 2, batch_size)
        swapped = np.random.default_rng(key).random(pairs) < 0.5
        batches[swapped] = batches[swapped, ::-1]
        return order
