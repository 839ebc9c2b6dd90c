"""An order that brings the rows of a group into one batch."""

from collections import defaultdict
from dataclasses import dataclass
from math import gcd

import numpy as np

PARTS = 8  # Default of `GroupShuffle.parts`.


@dataclass(frozen=True)
class GroupShuffle:
    """Whole groups in random order, laid out so that a group lies within one part of a batch.

    Each batch consists of equal parts, every one a whole number of replicas' shares: so a loss over the rows of a group
    is the same for any number of replicas that divides the parts, without an exchange between them. The groups of a
    buffer come in random order, and the rows of a group in random order too. Where the next group does not fit into
    the rest of a part, later groups fill it. A group is cut in two only if none does, if it is larger than a part, or
    if its rows come with two buffers.

    Where a window does not fit into one buffer, buffers follow the log's order.

    Attributes:
        parts: Parts of a batch. A batch size that it does not divide has fewer: their greatest common divisor.
    """

    parts: int = PARTS

    def units(self, key: tuple[int, ...], units: int) -> np.ndarray:
        return np.arange(units)

    def rows(self, key: tuple[int, ...], rows: int, batch_size: int, groups: np.ndarray | None = None) -> np.ndarray:
        """Returns the order of a buffer's rows; see `Shuffle`.

        Raises:
            ValueError: If `groups` is missing.
        """
        if groups is None:
            raise ValueError("a shuffle by groups needs the rows' groups: give the reader a column, group=")
        rng = np.random.default_rng(key)
        shuffled = rng.permutation(rows)
        own = groups[shuffled]
        own = np.where(own < 0, rows + 1 + np.arange(rows) + groups.max(initial=0), own)  # Each row by itself.
        shuffled = shuffled[np.argsort(own, kind="stable")]  # Group by group, the rows of each in random order.
        _, sizes = np.unique(own, return_counts=True)
        starts = np.cumsum(sizes) - sizes
        groups_in_order = rng.permutation(len(sizes))
        room = batch_size // parts_of(batch_size, self.parts)
        layout = _Layout(starts[groups_in_order], sizes[groups_in_order], room)
        start, length = np.array(layout.pieces, np.int64).reshape(-1, 2).T
        before = np.cumsum(length) - length
        return shuffled[np.repeat(start - before, length) + np.arange(rows)]


def parts_of(batch_size: int, parts: int = PARTS) -> int:
    """Returns the number of parts of a batch; see `GroupShuffle`."""
    return gcd(batch_size, parts)


def number_by_part(groups: np.ndarray, parts: int) -> np.ndarray:
    """Returns numbers of a batch's groups that differ from part to part, `(rows,)` int64; -1 for rows without a group.

    Args:
        groups: `(rows,)` numbers of the groups, int64, -1 without one.
        parts: Parts of the batch.
    """
    part = np.arange(len(groups)) // (len(groups) // parts)
    return np.where(groups < 0, -1, groups * parts + part)


class _Layout:
    """Cuts a random order of groups into pieces that fill parts of `room` rows one after another.

    Args:
        starts: `(groups,)` the first row of each group.
        sizes: `(groups,)` the rows of each group.
        room: Rows of a part.

    Attributes:
        pieces: (first row, rows) of the pieces, in their order.
    """

    def __init__(self, starts: np.ndarray, sizes: np.ndarray, room: int):
        self._starts, self._sizes, self._room, self._left = starts.tolist(), sizes.tolist(), room, room
        self._placed = [False] * len(sizes)
        self._of_size: dict[int, list[int]] = defaultdict(list)  # The groups that wait, the last of the order first.
        for number in range(len(sizes) - 1, -1, -1):
            self._of_size[self._sizes[number]].append(number)
        self._newest: int | None = None  # The group placed last in the part at hand, if it is whole.
        self.pieces: list[tuple[int, int]] = []
        for number in range(len(sizes)):
            if not self._placed[number]:
                self._place(number)

    def _place(self, number: int) -> None:
        """Places a group: whole if it can be, after others that fill the part at hand if it does not fit."""
        size = self._sizes[number]
        while self._left < size <= self._room and self._filled():
            if self._placed[number]:
                return
        start, self._placed[number] = self._starts[number], True
        while size > self._left:  # Cut.
            self.pieces.append((start, self._left))
            start, size, self._left, self._newest = start + self._left, size - self._left, self._room, None
        self._add(start, size, number if size == self._sizes[number] else None)

    def _add(self, start: int, size: int, number: int | None) -> None:
        self.pieces.append((start, size))
        self._newest, self._left = number, self._left - size
        if not self._left:
            self._newest, self._left = None, self._room

    def _filled(self) -> bool:
        """Fills the part at hand with groups that wait, perhaps in the place of its newest, which then comes next."""
        newest = self._newest
        if chosen := self._choice(self._left):
            newest = None
        elif newest is not None and (chosen := self._choice(self._left + self._sizes[newest])):
            self.pieces.pop()
            self._left += self._sizes[newest]
        else:
            chosen, newest = self._largest(self._left - 1), None
        for number in chosen:
            self._placed[number] = True
            self._add(self._starts[number], self._sizes[number], number)
        if chosen and newest is not None:
            self._add(self._starts[newest], self._sizes[newest], newest)
        return bool(chosen)

    def _choice(self, rows: int) -> list[int]:
        """One or two groups that wait and have `rows` rows together; none if there are no such groups."""
        if one := self._first(rows):
            return one
        for size in range(rows - 1, rows // 2, -1):
            if (larger := self._first(size)) and (smaller := self._first(rows - size)):
                return larger + smaller
        return []

    def _largest(self, rows: int) -> list[int]:
        """The first of the largest groups that wait and have at most `rows` rows."""
        return next((found for size in range(rows, 0, -1) if (found := self._first(size))), [])

    def _first(self, size: int) -> list[int]:
        """The first group of a size that waits."""
        numbers = self._of_size.get(size, [])
        while numbers and self._placed[numbers[-1]]:
            numbers.pop()
        return numbers[-1:]
