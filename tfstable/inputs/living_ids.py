"""The maps from ids to rows over the windows of a log, for training that reads ahead, and their file."""

import threading
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from tfstable.data.columns import ARROW, MISSING, arrow_types
from tfstable.data.log import DayLog, read
from tfstable.data.window import Window
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.ids import Given, IdMap, Rules
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.raw import raw_values, spread
from tfstable.inputs.statistics import Statistics, table_name
from tfstable.specs import Feature, living


class Ids:
    """The maps of all tables at one time.

    Attributes:
        maps: The map of each table.
    """

    def __init__(self, maps: Mapping[str, IdMap]):
        self.maps = dict(maps)

    @cached_property
    def tables(self) -> dict[str, IdTable]:
        """Looks up the rows of ids, by table."""
        return {table: IdTable(ids) for table, ids in self.maps.items()}


def write(path: Path, before: Ids, now: Ids | None) -> None:
    """Writes maps as a Parquet file: a row per table, time and id.

    Args:
        path: The file.
        before: The maps before a window.
        now: Those with which a part of it is trained; None: no part is.
    """
    parts = []
    for time, ids in (("before", before), ("now", now)):
        for table, each in ids.maps.items() if ids is not None else ():
            column = "number" if pa.types.is_integer(each.known.schema.field("id").type) else "text"
            part = each.known.rename_columns([column, *each.known.column_names[1:]])
            for name, value in (("table", table), ("time", time)):
                part = part.append_column(name, pa.array([value] * len(part), pa.string()))
            parts.append(part)
    pq.write_table(pa.concat_tables(parts, promote_options="default"), path)


def read_maps(path: Path, dtypes: Mapping[str, str]) -> tuple[Ids, Ids | None]:
    """Returns the maps before a window and now, of tables whose ids have these raw dtypes, as `write` wrote them."""
    file = pq.read_table(path, partitioning=None)
    found = []
    for time in ("before", "now"):
        of_time, maps = file.filter(pc.equal(file["time"], time)), {}
        for table, dtype in dtypes.items():
            own, column = of_time.filter(pc.equal(of_time["table"], table)), "number" if dtype == "int64" else "text"
            maps[table] = IdMap.none(dtype)
            if len(own):
                known = own.select([column, "row", "count", "last"])
                maps[table] = IdMap(known.rename_columns(["id", "row", "count", "last"]))
        found.append(Ids(maps))
    before, now = found
    return before, now if any(len(ids.known) for ids in now.maps.values()) else None


class Living(NamedTuple):
    """The maps with which a window trains.

    Attributes:
        ids: The maps.
        given: The rows that are new in them, by table.
    """

    ids: Ids
    given: dict[str, Given]


class LivingIds:
    """The maps before and after each window: a function of the log's days up to its last one.

    Several threads may ask, in the order of the windows. Memory holds the maps since `forget`.

    Args:
        log: The log.
        features: Feature specs by name.
        statistics: Statistics of the log.

    Attributes:
        dtypes: Raw dtype of the ids by table.
    """

    def __init__(self, log: DayLog, features: dict[str, Feature], statistics: Statistics):
        self._log, self._features = log, living(features)
        self._users: dict[str, list[str]] = {}
        for name, feature in self._features.items():
            self._users.setdefault(table_name(name, feature), []).append(name)
        firsts = {table: self._features[names[0]] for table, names in self._users.items()}
        self._rules = {table: Rules.of(feature) for table, feature in firsts.items()}
        columns = {name: feature.column or name for name, feature in self._features.items()}
        self._column_of = columns
        self._columns = {column: statistics.columns[column] for column in columns.values()}
        self.dtypes = {table: self._columns[columns[names[0]]].dtype for table, names in self._users.items()}
        own = statistics.model_copy(update={"columns": self._columns})
        preprocessor = Preprocessor(dict(self._features), own)
        signature = [preprocessor.signature()]
        self._preprocess = tf.function(preprocessor.of_rows, input_signature=signature, autograph=False)
        self._lock = threading.Lock()
        nothing = Ids({table: IdMap.none(dtype) for table, dtype in self.dtypes.items()})
        self._before: dict[date, Living] = {}
        self._after = {date.min: nothing}

    def before(self, window: Window) -> Living:
        """Returns the maps with which a window trains.

        Raises:
            InputError: If a day of the log cannot be read.
        """
        with self._lock:
            if window.last not in self._before:
                start = max(last for last in (*self._after, *self._before) if last < window.last)
                maps = dict(self._at(start).maps)
                for day in self._log.counted:
                    if start < day <= window.last:
                        maps = {table: maps[table].plus(day, *found) for table, found in self._count(day).items()}
                both = {table: maps[table].given(window, rules) for table, rules in self._rules.items()}
                ids = Ids({table: ids for table, (ids, _) in both.items()})
                self._before[window.last] = Living(ids, {table: given for table, (_, given) in both.items()})
            return self._before[window.last]

    def after(self, last: date | None) -> Ids:
        """Returns the maps after the window that ends at `last`; None: before the first one."""
        with self._lock:
            return self._at(last or date.min)

    def restore(self, last: date | None, ids: Ids) -> None:
        """Goes on from the maps after the window that ends at `last`."""
        with self._lock:
            self._after.setdefault(last or date.min, ids)

    def forget(self, last: date) -> None:
        """Frees what only windows up to the one that ends at `last` need, but for the maps after it."""
        with self._lock:
            self._at(last)
            self._before = {day: maps for day, maps in self._before.items() if day > last}
            self._after = {day: maps for day, maps in self._after.items() if day >= last}

    def grows(self, table: str) -> bool:
        """Whether a table's ids keep their rows for ever: of a vocabulary, whose size is a wish."""
        return not self._rules[table].takes

    def _at(self, last: date) -> Ids:
        if last not in self._after:
            ids = self._before[last].ids
            kept = {table: ids.maps[table].expired(last, rules) for table, rules in self._rules.items()}
            same = all(kept[table] is ids.maps[table] for table in kept)
            self._after[last] = ids if same else Ids(kept)
        return self._after[last]

    def _count(self, day: date) -> dict[str, tuple[pa.Array, np.ndarray]]:
        """The distinct ids of a day by table, and how many of its rows have each."""
        parts: dict[str, list[pa.Table]] = {table: [] for table in self._users}
        for batch in read(self._log.units(day), arrow_types(self._columns, coded_text=True)):
            found = self._ids(pa.Table.from_batches([batch]))
            for table, names in self._users.items():
                counts = _counted([found[name] for name in names], self.dtypes[table])
                parts[table].append(pa.table(counts, ["id", "count"]))
        totals = {}
        for table, counted in parts.items():
            every = pa.concat_tables(counted).group_by("id", use_threads=False).aggregate([("count", "sum")])
            totals[table] = every["id"].combine_chunks(), every["count_sum"].to_numpy()
        return totals

    def _ids(self, table: pa.Table) -> dict[str, np.ndarray]:
        """The ids of each feature, `(rows,)` or `(rows, max_values)`, int64 or objects."""
        raw, places = raw_values(table, self._columns)
        with tf.device("CPU:0"):
            found = {name: ids.numpy() for name, ids in self._preprocess(raw).items()}
        return {
            name: spread(ids, places[column], self._columns[column]) if column in places else ids
            for (name, ids), column in zip(found.items(), map(self._column_of.__getitem__, found), strict=True)
        }


def _counted(of_features: Sequence[np.ndarray], dtype: str) -> list[pa.Array]:
    """The distinct ids of some features, and how many rows have each in one of them, missing values left out."""
    x = np.concatenate([ids.reshape(len(ids), -1) for ids in of_features], axis=1)  # (rows, values)
    flat = pa.array(x.ravel(), ARROW["int64"] if dtype == "int64" else pa.binary()).cast(ARROW[dtype])
    coded = flat.dictionary_encode()
    codes, ids = coded.indices.to_numpy(), coded.dictionary
    if x.shape[1] > 1:  # A row that has an id several times counts once.
        row = np.repeat(np.arange(len(x)), x.shape[1])
        codes = np.unique(row * max(len(ids), 1) + codes) % max(len(ids), 1)
    counts = np.bincount(codes, minlength=len(ids))
    known = pc.not_equal(ids, pa.scalar(MISSING[dtype], ARROW[dtype]))
    return [ids.filter(known), pa.array(counts).filter(known)]
