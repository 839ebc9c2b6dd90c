"""Windows of days, and the order of the batches inside one.

The order is a pure function of (seed, window, pass, batch number): an index plan, not the state of a shuffle buffer. So
a run that resumes at batch n computes that batch without replaying the earlier ones.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from tfstable.data.group_shuffle import PARTS, GroupShuffle, number_by_part, parts_of
from tfstable.data.log import read
from tfstable.data.log_files import Unit
from tfstable.data.shuffle import FullShuffle, Shuffle

Arrays = dict[str, np.ndarray]  # One row per example.


@dataclass(frozen=True)
class Window:
    """Consecutive days to train on, and the days that come after them until the next window ends.

    Attributes:
        days: The days of the window, in order.
        next_days: The days that this window's model is evaluated on; empty at the end of the log.
        after: Last day of the window before; None: this is the first.
    """

    days: tuple[date, ...]
    next_days: tuple[date, ...]
    after: date | None = None

    @property
    def last(self) -> date:
        return self.days[-1]


def windows(days: Sequence[date], length: int, stride: int, after: date | None = None) -> list[Window]:
    """Returns the windows over a log's days, in time order.

    Args:
        days: Days of the log, in order.
        length: Days per window; the first window ends at day `length`.
        stride: Days between the ends of two consecutive windows.
        after: Last day of the newest trained window: only later windows are returned. None: all windows.

    Examples:
        >>> from datetime import date
        >>> from tfstable.data.window import windows
        >>> days = [date(2025, 1, day) for day in range(1, 5)]
        >>> for window in windows(days, length=2, stride=1):
        ...     print([day.day for day in window.days], "then", [day.day for day in window.next_days])
        [1, 2] then [3]
        [2, 3] then [4]
        [3, 4] then []
    """
    first = length - 1 if after is None else sum(day <= after for day in days) + stride - 1
    found: list[Window] = []
    for end in range(first, len(days), stride):
        before = found[-1].last if found else after
        own, following = days[max(0, end + 1 - length) : end + 1], days[end + 1 : end + 1 + stride]
        found.append(Window(tuple(own), tuple(following), before))
    return found


class Batches:
    """Batches over units of a log, each with exactly `batch_size` rows.

    Rows stream through a buffer, and `shuffle` orders its rows. A full shuffle also permutes the units before reading.
    If all rows fit into one buffer, it is read once for all passes. The next buffer is read while this one is served.
    The last batch of a pass is filled up with copies of a row that have weight 0.

    Args:
        units: Pieces of the log.
        columns: Columns to read, each with its type, or None; see `log.read`.
        convert: Turns a table of those columns into arrays by name, one row per example; example weights are under
            "weight", and the numbers of the rows' groups, if there are any, under "group". A batch has other numbers,
            which differ from part to part; see `GroupShuffle`.
        batch_size: Rows per batch.
        buffer_rows: Rows per buffer, rounded up to whole batches. Memory holds two buffers while the next is read.
        shuffle: The order of the rows of a pass with a key.
        check: Checks the rows of each file as they are read; see `log.read`.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        columns: dict[str, pa.DataType | None],
        convert: Callable[[pa.Table], Arrays],
        *,
        batch_size: int,
        buffer_rows: int,
        shuffle: Shuffle = FullShuffle(),  # noqa: B008  (it has no state)
        check: Callable[[Path, pa.RecordBatch], None] | None = None,
    ):
        self._units, self._columns, self._convert = list(units), columns, convert
        self._batch_size, self._shuffle, self._check = batch_size, shuffle, check
        self._parts = parts_of(batch_size, shuffle.parts if isinstance(shuffle, GroupShuffle) else PARTS)
        self._buffer_rows = -(-buffer_rows // batch_size) * batch_size
        self.rows = sum(unit.rows for unit in units)
        self.steps = -(-self.rows // batch_size)
        self._whole: Arrays | None = None  # The only buffer, once read, if all rows fit into it.

    def forever(self, key: tuple[int, ...], start: int = 0) -> Generator[Arrays, None, None]:
        """Yields the batches of pass after pass, from step `start` on; pass p is shuffled by (`key`, p).

        The first number of `key` is the seed; the others say what is shuffled.
        """
        number, step = divmod(start, self.steps)
        while True:
            yield from self.one_pass((*key, number), step)
            number, step = number + 1, 0

    def one_pass(self, key: tuple[int, ...] | None, start: int = 0) -> Generator[Arrays, None, None]:
        """Yields the batches of one pass from batch `start` on, shuffled by `key`, or in the log's order for None."""
        buffers = -(-self.rows // self._buffer_rows)
        units = self._units
        if key is not None and buffers > 1:
            units = [units[i] for i in self._shuffle.units(key, len(units))]
        per_buffer = self._buffer_rows // self._batch_size
        first, skipped = divmod(start, per_buffer)
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(self._load, units, first, buffers)
            for number in range(first, buffers):
                examples = pending.result()
                if number + 1 < buffers:
                    pending = pool.submit(self._load, units, number + 1, buffers)
                rows = len(examples["weight"])
                order = np.arange(rows)
                if key is not None:
                    order = self._shuffle.rows((*key, number), rows, self._batch_size, examples.get("group"))
                for begin in range(skipped * self._batch_size, rows, self._batch_size):
                    yield self._take(examples, order[begin : begin + self._batch_size])
                skipped = 0

    def _load(self, units: list[Unit], number: int, buffers: int) -> Arrays:
        if self._whole is not None:
            return self._whole
        start = number * self._buffer_rows
        wanted = min(self._buffer_rows, self.rows - start)
        pieces, rows = [], 0
        for piece in read(units, self._columns, start, self._check):
            pieces.append(piece.slice(0, wanted - rows))
            rows += pieces[-1].num_rows
            if rows == wanted:
                break
        examples = self._convert(pa.Table.from_batches(pieces))
        if buffers == 1:
            self._whole = examples
        return examples

    def _take(self, examples: Arrays, rows: np.ndarray) -> Arrays:
        missing = self._batch_size - len(rows)
        batch = take(examples, np.concatenate([rows, np.repeat(rows[:1], missing)]) if missing else rows)
        if "group" in batch:
            batch["group"][len(rows) :] = -1
            batch["group"] = number_by_part(batch["group"], self._parts)
        batch["weight"][len(rows) :] = 0
        return batch


def take(examples: Arrays, rows: np.ndarray | slice) -> Arrays:
    """Returns the given rows of every array."""
    if isinstance(rows, slice):
        return {name: values[rows] for name, values in examples.items()}
    # `take` copies each wide row at once, several times as fast as general indexing.
    return {name: values.take(rows, axis=0) for name, values in examples.items()}
