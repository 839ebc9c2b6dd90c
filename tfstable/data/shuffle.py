"""Orders of the rows of a pass: pure functions of (seed, window, pass, buffer), from the strongest to the gentlest."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Shuffle(Protocol):
    """An order. A key is a tuple of integers whose first is the seed."""

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        """Returns the order, `(units,)`, in which the files' pieces are read where they do not fit into one buffer."""

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int) -> np.ndarray:
        """Returns the order, `(rows,)`, of the rows of a buffer; each `batch_size` of them become a batch."""


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

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int) -> np.ndarray:
        return np.random.default_rng(key).permutation(rows)


@dataclass(frozen=True)
class BlockShuffle:
    """The log's order, in which each run of `size` rows, a block, is shuffled within itself.

    Two seeds give each block's rows to the same batches or their neighbours, where a block holds several. A block ends
    where a buffer does.
    """

    size: int

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        return np.arange(units)

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int) -> np.ndarray:
        within = np.random.default_rng(key).random(rows)
        return np.lexsort((within, np.arange(rows) // self.size))


@dataclass(frozen=True)
class SwapShuffle:
    """A full shuffle that is the same for every seed; the seed then decides which neighbouring batches change places.

    Of the whole batches 0 and 1, 2 and 3, and so on of a buffer, each pair is swapped with probability 1/2: no batch
    has other rows than with another seed, and none comes more than one step earlier or later.
    """

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        return FullShuffle().units(key[1:], units)

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int) -> np.ndarray:
        order = FullShuffle().rows(key[1:], rows, batch_size)
        pairs = rows // (2 * batch_size)
        batches = order[: pairs * 2 * batch_size].reshape(pairs, 2, batch_size)
        swapped = np.random.default_rng(key).random(pairs) < 0.5
        batches[swapped] = batches[swapped, ::-1]
        return order
