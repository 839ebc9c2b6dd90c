"""From a log to batches of model inputs: what the trainer feeds from, and `fit` can too."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from datetime import date

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.data.columns import arrow_types, numbers, to_numpy
from tfstable.data.log import DayLog
from tfstable.data.shuffle import FullShuffle, Shuffle
from tfstable.data.window import Arrays, Batches, take
from tfstable.errors import InputError
from tfstable.features import Preprocessor
from tfstable.specs import TaskSpec, label_columns
from tfstable.statistics import Statistics, check_labels


class ExampleReader:
    """Reads days of a log as batches of `{"features": ..., "labels": ..., "weight": ...}`.

    Preprocessing runs once a buffer, not once a batch: the tensors are large and its cost is that of the rows alone.

    Args:
        log: The log.
        preprocessor: Turns raw columns into model inputs.
        statistics: The statistics that `preprocessor` was made with.
        tasks: Task specs by name. Labels are float32, NaN where masked.
        weight: Column of example weights; None: every example weighs 1. A null weighs 0.
    """

    def __init__(
        self,
        log: DayLog,
        preprocessor: Preprocessor,
        statistics: Statistics,
        tasks: dict[str, TaskSpec],
        weight: str | None = None,
    ):
        self._log, self._columns, self._weight = log, statistics.columns, weight
        self._tasks, self._labels = tasks, label_columns(tasks)
        self._failure: InputError | None = None
        signature = preprocessor.signature()
        # Traced once: a buffer's preprocessing is one call of the graph. On the host, whatever the strategy's devices.
        self._preprocess = tf.function(preprocessor, input_signature=[signature], autograph=False)
        self._outputs = self._preprocess.get_concrete_function().structured_outputs

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The columns to read, with the types to read them as."""
        labels = {name: pa.float32() for name in (*self._labels.values(), self._weight) if name}
        return labels | arrow_types(self._columns)

    def batches(
        self,
        days: tuple[date, ...],
        batch_size: int,
        buffer_rows: int,
        shuffle: Shuffle = FullShuffle(),  # noqa: B008
    ) -> Batches:
        """Returns the batches over `days`."""
        units = [unit for day in days for unit in self._log.units(day)]
        return Batches(
            units, self.columns, self.convert, batch_size=batch_size, buffer_rows=buffer_rows, shuffle=shuffle
        )

    def convert(self, table: pa.Table) -> dict[str, Arrays]:
        """Turns rows of the log into model inputs, labels and weights, all NumPy.

        Raises:
            InputError: If a number is infinite, a label is none of its task's, or a weight is negative or infinite: on
                a later day than those that the statistics were fitted on, this is where it is found.
        """
        with tf.device("CPU:0"):
            raw = {name: tf.constant(to_numpy(table[name], name, c), c.dtype) for name, c in self._columns.items()}
            features = {name: tensor.numpy() for name, tensor in self._preprocess(raw).items()}
        for name, values in features.items():
            if values.dtype == np.float32 and not np.isfinite(values).all():
                raise InputError(f"features.{name}: the log has infinite values; set features.{name}.clip: [low, high]")
        weight = np.ones(table.num_rows, np.float32)
        if self._weight:
            weight = np.nan_to_num(numbers(table[self._weight]), copy=True, nan=0.0, posinf=np.inf)
            if not ((weight >= 0) & (weight < np.inf)).all():
                raise InputError(f"data.weight: column {self._weight} holds negative or infinite weights; mend the log")
        labels = {name: numbers(table[column]) for name, column in self._labels.items()}
        for name, values in labels.items():
            check_labels(name, self._tasks[name], values, self._labels[name])
        return {"features": features, "labels": labels, "weight": weight}

    @contextmanager
    def input_errors(self) -> Iterator[None]:
        """Around the use of a dataset: raises the InputError that ended it, not TensorFlow's account of it."""
        try:
            yield
        except tf.errors.OpError:
            if self._failure is None:
                raise
            raise self._failure from None

    def dataset(
        self,
        batches: Generator[Arrays, None, None],
        batch_size: int,
        parts: int = 1,
        own: range | None = None,
        prefetch: int = 4,
    ) -> tf.data.Dataset:
        """Wraps batches as a prefetched tf.data.Dataset of `(features, labels, weight)`.

        Args:
            batches: Generator of batches of `batch_size` rows.
            batch_size: Rows of a batch.
            parts: Equal parts that each batch is cut into, in order: one a replica.
            own: The parts that the dataset holds, those of a worker's replicas; None for all.
            prefetch: Batches made ahead of their use.
        """
        own = range(parts) if own is None else own
        rows = batch_size // parts

        def generate():
            try:
                with closing(batches):  # It reads ahead on a thread of its own, which ends with the dataset's iterator.
                    for batch in batches:
                        for part in own:
                            piece = take(batch, slice(part * rows, (part + 1) * rows)) if parts > 1 else batch
                            yield piece["features"], piece["labels"], piece["weight"]
            except InputError as error:
                self._failure = error
                raise

        features = {name: tf.TensorSpec([rows, *spec.shape[1:]], spec.dtype) for name, spec in self._outputs.items()}
        labels = {name: tf.TensorSpec([rows], tf.float32) for name in self._labels}
        signature = (features, labels, tf.TensorSpec([rows], tf.float32))
        return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(prefetch * len(own))
