"""Reads a log as batches of model inputs, for the trainer and for `Model.fit`."""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.data.columns import arrow_types, group_type
from tfstable.data.log import DAY, DayLog
from tfstable.data.maturity import UsedLabels, longest
from tfstable.data.shuffle import FullShuffle, Shuffle
from tfstable.data.values import ValueChecks
from tfstable.data.window import Batches
from tfstable.errors import InputError
from tfstable.inputs.counted_days import CountedDays
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.layout import Examples, Layout
from tfstable.inputs.preprocessor import Preprocessor, rows_of
from tfstable.inputs.raw import raw_values, spread
from tfstable.inputs.statistics import Statistics, table_name, vector_width
from tfstable.inputs.targets import Targets
from tfstable.specs import TaskSpec

T = TypeVar("T")
HANDED_OVER = 16_384  # Fewest rows that Python hands to tf.data at a time; each hand-over costs a millisecond.


class Stream(Iterator[T]):
    """A generator that one thread may close while another thread reads it; closing ends it for the reader.

    A dataset keeps its generator, with its thread and buffers, until TensorFlow drops its iterators, perhaps long after
    their last use. Closing this stream frees them at once; it first waits for an item in the making.
    """

    def __init__(self, items: Generator[T, None, None]):
        self._items, self._lock = items, threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)

    def close(self) -> None:
        with self._lock:
            self._items.close()


class ExampleReader:
    """Reads days of a log as batches of examples: packed ones (see `Layout`), or a dataset of model inputs.

    Preprocessing runs once per buffer, not per batch: on large tensors it costs time only per row. For text, and for
    integers of a narrow range, it runs once per distinct value of the buffer.

    Args:
        log: The log.
        preprocessor: Turns raw columns into model inputs.
        statistics: The statistics of `preprocessor`.
        tasks: Task specs by name. Labels are float32, NaN where masked.
        weight: Column of example weights; None: every example weighs 1. A null weighs 0.
        checks: Checks the rows; None: of labels, weights and numbers alone.
        group: Column whose values group the rows of a day, for `GroupShuffle` and losses over lists; None: no groups.

    Attributes:
        layout: Unpacks the examples of `batches` and `convert`.
        checks: Checks the rows of `batches` as they are read: finds bad labels and weights of days after the first
            window, and counts infinite numbers.
        counted: The counters' sums; None without counters. A row sees the sums of the days before its own.
    """

    def __init__(
        self,
        log: DayLog,
        preprocessor: Preprocessor,
        statistics: Statistics,
        tasks: dict[str, TaskSpec],
        weight: str | None = None,
        checks: ValueChecks | None = None,
        group: str | None = None,
    ):
        self._log, self._columns = log, statistics.columns
        schemas = {path: schema for day in log.days if group for path, schema in log.schemas(day).items()}
        self._targets = Targets(tasks, weight, (group, group_type(schemas, group)) if group else None)
        self._days = longest(tasks) > 0
        self.checks = checks or ValueChecks(preprocessor.features, tasks, weight)
        self._failure: InputError | None = None
        signature = preprocessor.signature()
        # Traced once: preprocessing a buffer is one call of the graph. It runs on the host under any strategy.
        self._preprocess = tf.function(preprocessor.of_rows, input_signature=[signature], autograph=False)
        self._columns_of = {n: c for n, c in preprocessor.columns_of.items() if n not in preprocessor.counters}
        crosses = [columns for columns in self._columns_of.values() if len(columns) > 1]
        self._crossed = {column for columns in crosses for column in columns}
        self._specs, self._statistics, self._functions = (
            preprocessor.features,
            statistics,
            [(statistics, self._preprocess)],
        )
        inputs = dict(self._preprocess.get_concrete_function().structured_outputs)
        self._table_of = {name: table_name(name, feature) for name, feature in preprocessor.living.items()}
        inputs |= {name: tf.TensorSpec(inputs[name].shape, tf.int32) for name in self._table_of}
        self.counted: CountedDays | None = None
        if preprocessor.counters:
            keys = {column: signature[column] for counter in preprocessor.counters.values() for column in counter.by}
            hashes = {column: tf.TensorSpec([None], tf.int64, name=column) for column in keys}
            self._hash = tf.function(preprocessor.hashes, input_signature=[keys], autograph=False)
            self._combine = tf.function(preprocessor.buckets, input_signature=[hashes], autograph=False)
            self._keys = {column: statistics.columns[column] for column in keys}
            inputs |= {n: tf.TensorSpec([None, vector_width(c)], tf.float32) for n, c in preprocessor.counters.items()}
            types = arrow_types(self._keys, coded_text=True)
            self.counted = CountedDays(log, preprocessor.counters, tasks, weight, types, self._buckets)
        self.layout = Layout({name: inputs[name] for name in preprocessor.features}, self._targets.names)

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The columns to read, each with the type to read it as."""
        day = {DAY: pa.int32()} if self.counted or self._days else {}
        return self._targets.columns | arrow_types(self._columns, coded_text=True) | day

    def batches(
        self,
        days: tuple[date, ...],
        batch_size: int,
        buffer_rows: int,
        shuffle: Shuffle = FullShuffle(),  # noqa: B008
        as_of: date | None = None,
        ids: Callable[[], Mapping[str, IdTable]] = dict,
        statistics: Statistics | None = None,
        used: UsedLabels | None = None,
    ) -> Batches:
        """Returns the batches over `days`.

        Args:
            days: Days of the log.
            batch_size: Rows of a batch.
            buffer_rows: Rows held at a time; see `Batches`.
            shuffle: The order of the rows.
            as_of: The day whose counters all rows see; None: each row those of its own day.
            ids: Returns the rows of ids by table. Called as rows are read.
            statistics: Statistics with other moments than the reader's; None: the reader's.
            used: The labels that are used; None: all.
        """
        units = [unit for day in days for unit in self._log.units(day)]
        return Batches(
            units,
            self.columns,
            lambda table: self.convert(table, min(days), as_of, ids(), statistics, used),
            batch_size=batch_size,
            buffer_rows=buffer_rows,
            shuffle=shuffle,
            check=self.checks,
        )

    def convert(
        self,
        table: pa.Table,
        first: date | None = None,
        as_of: date | None = None,
        ids: Mapping[str, IdTable] = MappingProxyType({}),
        statistics: Statistics | None = None,
        used: UsedLabels | None = None,
    ) -> dict[str, np.ndarray]:
        """Turns checked rows of the log into packed model inputs, labels and weights.

        Args:
            table: The rows, with the columns of `columns`.
            first: The first day that rows of the same days come from: counting begins for it, not for the first here.
            as_of, statistics, used: See `batches`.
            ids: The rows of ids by table.
        """
        labels, weight = self._targets(table, used)
        features = self._features(table, ids, statistics)
        if self.counted is not None:
            features |= self._counters(table, self._buckets(table), first, as_of)
        return self.layout.pack(features, labels, weight)

    def _counters(
        self, table: pa.Table, buckets: dict[str, np.ndarray], first: date | None, as_of: date | None
    ) -> dict[str, np.ndarray]:
        """What each row sees of the counters, `(rows, width)` float32."""
        assert self.counted is not None
        if as_of is not None:
            return {name: each.gather(buckets[name]) for name, each in self.counted.tables(as_of).items()}
        days = table[DAY].to_numpy()
        of_day = {day: np.flatnonzero(days == day) for day in np.unique(days)}
        if first is not None:
            self.counted.tables(first)
        features: dict[str, np.ndarray] = {}
        for day, rows in of_day.items():
            for name, each in self.counted.tables(date.fromordinal(int(day))).items():
                values = features.setdefault(name, np.empty((len(days), each.values.shape[1]), np.float32))
                values[rows] = each.gather(buckets[name][rows])
        return features

    def _buckets(self, table: pa.Table) -> dict[str, np.ndarray]:
        """The bucket of each row by counter, `(rows,)` int32; values are hashed as in `_features`."""
        raw, places = raw_values(table, self._keys, ())
        with tf.device("CPU:0"):
            hashes = {name: hashed.numpy() for name, hashed in self._hash(raw).items()}
            hashes |= {name: hashes[name].take(place) for name, place in places.items()}
            return {name: bucket.numpy() for name, bucket in self._combine(hashes).items()}

    def _preprocessing(self, statistics: Statistics | None) -> Any:
        """The traced preprocessing with some statistics; besides the reader's own, the newest two are kept."""
        statistics = statistics or self._statistics
        for known, function in self._functions:
            if known is statistics:
                return function
        preprocessor = Preprocessor(self._specs, statistics)
        traced = tf.function(preprocessor.of_rows, input_signature=[preprocessor.signature()], autograph=False)
        function = traced.get_concrete_function()  # TensorFlow warns of many functions that are traced when called.
        own, *others = self._functions
        self._functions = [own, *others[-1:], (statistics, function)]
        return function

    def _features(
        self, table: pa.Table, ids: Mapping[str, IdTable], statistics: Statistics | None
    ) -> dict[str, np.ndarray]:
        """Preprocesses text and integers of a narrow range per distinct value, the rest and crossed ids per row."""
        raw, places = raw_values(table, self._columns, self._crossed)
        with tf.device("CPU:0"):
            found = dict(self._preprocessing(statistics)(raw))
            found |= {name: rows_of(found[name], ids, table) for name, table in self._table_of.items()}
        features = {name: tensor.numpy() for name, tensor in found.items()}
        for name, sources in self._columns_of.items():
            if (source := sources[0]) in places:
                features[name] = spread(features[name], places[source], self._columns[source])
        return features

    @contextmanager
    def input_errors(self) -> Iterator[None]:
        """A context around the use of a dataset: raises the InputError that ended it instead of TensorFlow's error."""
        try:
            yield
        except tf.errors.OpError:
            if self._failure is None:
                raise
            raise self._failure from None

    def dataset(
        self,
        batches: Generator[Examples, None, None] | Stream[Examples],
        batch_size: int,
        parts: int = 1,
        own: range | None = None,
        prefetch: int = 4,
    ) -> tf.data.Dataset:
        """Wraps packed batches as a prefetched tf.data.Dataset of `(features, labels, weight)`.

        Args:
            batches: Packed batches of `batch_size` rows; closed with the dataset's iterator. A Stream can be closed
                earlier.
            batch_size: Rows per batch.
            parts: Equal parts that each batch is cut into, in order: one per replica.
            own: The parts that the dataset holds: one per replica of this worker. None for all.
            prefetch: Batches to prepare ahead of their use.
        """
        own = range(parts) if own is None else own
        rows = batch_size // parts

        def pieces(group: list[Examples]) -> Examples:
            """(pieces, rows, ...): this worker's parts of some batches, in order."""
            arrays = {name: np.stack([batch[name] for batch in group]) for name in group[0]}
            cut = {name: x.reshape(len(group), parts, rows, *x.shape[2:]) for name, x in arrays.items()}
            return {name: x[:, own.start : own.stop].reshape(-1, rows, *x.shape[3:]) for name, x in cut.items()}

        def generate() -> Iterator[Examples]:
            group, failure = [], None
            try:
                with closing(batches):  # Its thread, which reads ahead, ends with the dataset's iterator.
                    for batch in batches:
                        group.append(batch)
                        if len(group) * batch_size >= HANDED_OVER:
                            yield pieces(group)
                            group = []
            except InputError as error:
                failure = error
            if group:
                yield pieces(group)
            if failure is not None:
                self._failure = failure
                raise failure

        spec = {name: tf.TensorSpec([None, *s.shape], s.dtype) for name, s in self.layout.spec(rows).items()}
        packed = tf.data.Dataset.from_generator(generate, output_signature=spec).unbatch()
        options = tf.data.Options()
        # Autotuning has nothing to tune here, and an iterator's end waits for its thread, which sleeps for seconds.
        options.autotune.enabled = False
        return packed.map(self.layout.unpack).prefetch(prefetch * len(own)).with_options(options)
