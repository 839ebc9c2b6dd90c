"""Which ids have which row of a table, window after window: a function of the log's days and of nothing else.

Before a window trains, the rows of the log up to its last day are counted per id, each day once. Ids of the window's
days that have occurred `min_count` times get a row, the most frequent first; ties go by a hash of the id. If too few
rows are free, ids that the window does not have lose theirs, the least recently seen first. When the window is trained,
ids without a row of the log for `expire_days` are forgotten, with their counts.

Arrow and NumPy alone: `living_ids` reads the log, and `id_table` looks ids up.
"""

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.columns import ARROW
from tfstable.data.window import Window
from tfstable.specs import IdFeature, VocabularyFeature


class Rules(NamedTuple):
    """How a table gives rows to ids.

    Attributes:
        capacity: Rows to give.
        min_count: Rows of the log that an id needs.
        expire_days: Days without a row of the log after which an id is forgotten; None: never.
        takes: Whether rows are taken from ids that a window does not have.
    """

    capacity: int
    min_count: int
    expire_days: int | None
    takes: bool

    @classmethod
    def of(cls, feature: IdFeature | VocabularyFeature) -> "Rules":
        """Returns the rules of a feature's table."""
        if isinstance(feature, IdFeature):
            return cls(feature.capacity, feature.min_count, feature.expire_days, takes=True)
        return cls(feature.max_size, feature.min_count, None, takes=False)


class Given(NamedTuple):
    """Rows that are given before a window trains.

    Attributes:
        ids: `(given,)` Arrow array, int64 or string.
        rows: `(given,)` int32.
        taken: How many of the rows were taken from other ids.
        waiting: How many more ids the window has that would get a row if one were free.
    """

    ids: pa.Array
    rows: np.ndarray
    taken: int
    waiting: int


@dataclass(frozen=True)
class IdMap:
    """The ids of a table at one time; immutable.

    Attributes:
        known: A row per id that has been counted: `id`, its `row` of the table (0: none), its `count` of rows of the
            log, and `last`, the ordinal of the last day with one.
    """

    known: pa.Table

    @classmethod
    def none(cls, dtype: str) -> "IdMap":
        """Returns the map before the first day, for ids of a raw dtype."""
        return cls(_known(pa.array([], ARROW[dtype]), *np.zeros((3, 0), np.int64)))

    def plus(self, day: date, ids: pa.Array, counts: np.ndarray) -> "IdMap":
        """Returns the map with the rows of a day counted.

        Args:
            day: The day.
            ids: Distinct ids.
            counts: `(ids,)`, the rows of the day that each has.
        """
        new = _known(ids, np.zeros(len(ids)), counts, np.full(len(ids), day.toordinal()))
        both = pa.concat_tables([self.known, new]).group_by("id", use_threads=False)
        merged = both.aggregate([("row", "max"), ("count", "sum"), ("last", "max")])
        return IdMap(_known(merged["id"], *(merged[name] for name in ("row_max", "count_sum", "last_max"))))

    def given(self, window: Window, rules: Rules) -> tuple["IdMap", Given]:
        """Returns the map for the training of a window whose days are counted, and the rows that are new in it."""
        rows, counts, last = (self.known[name].to_numpy().copy() for name in ("row", "count", "last"))
        seen = last >= window.days[0].toordinal()
        waiting = np.flatnonzero((rows == 0) & seen & (counts >= rules.min_count))
        hashes = _hashes(self.known["id"].take(waiting))
        waiting = waiting[np.lexsort([hashes, -last[waiting], -counts[waiting]])]
        free = np.ones(rules.capacity + 1, bool)
        free[rows] = free[0] = False
        lack, taken = len(waiting) - int(free.sum()), 0
        if lack > 0 and rules.takes:
            others = np.flatnonzero((rows > 0) & ~seen)
            order = np.lexsort([_hashes(self.known["id"].take(others)), counts[others], last[others]])
            losing = others[order[:lack]]
            free[rows[losing]], rows[losing], taken = True, 0, len(losing)
        new = np.flatnonzero(free)[: len(waiting)].astype(np.int32)
        getting = waiting[: len(new)]
        rows[getting] = new
        ids = self.known["id"].take(getting).combine_chunks()
        return self._with_rows(rows), Given(ids, new, taken, len(waiting) - len(new))

    def expired(self, last: date, rules: Rules) -> "IdMap":
        """Returns the map after the training of a window that ends at `last`."""
        if rules.expire_days is None:
            return self
        kept = pc.greater(self.known["last"], last.toordinal() - rules.expire_days)
        return self if pc.all(kept).as_py() in (True, None) else IdMap(self.known.filter(kept))

    def mapped(self) -> tuple[pa.Array, np.ndarray]:
        """Returns the ids that have a row, int64 or string, and their rows, int32."""
        found = self.known.filter(pc.greater(self.known["row"], 0))
        return found["id"].combine_chunks(), found["row"].to_numpy()

    def _with_rows(self, rows: np.ndarray) -> "IdMap":
        return IdMap(self.known.set_column(1, "row", pa.array(rows, pa.int32())))


def _known(ids: pa.Array, rows: pa.Array, counts: pa.Array, last: pa.Array) -> pa.Table:
    types = {"row": pa.int32(), "count": pa.int64(), "last": pa.int32()}
    columns = dict(zip(types, (rows, counts, last), strict=True))
    return pa.table({"id": ids} | {name: _typed(columns[name], dtype) for name, dtype in types.items()})


def _typed(values: pa.ChunkedArray | np.ndarray, dtype: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return pa.array(values).cast(dtype) if isinstance(values, np.ndarray) else values.cast(dtype)


def _hashes(ids: pa.ChunkedArray) -> np.ndarray:
    return pd.util.hash_array(ids.to_numpy())
