"""Examples as a few wide arrays: taking the rows of a batch is then two copies, not one per column."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from tfstable.specs import GROUP, WEIGHT

AT_A_TIME = 4096  # Rows packed together: their slice of the wide arrays stays in the cache from column to column.

Examples = dict[str, np.ndarray | tf.Tensor]


class Layout:
    """The position of each feature and label in the wide arrays.

    Packed examples are a dict of "ids", `(rows, ids)` int32, "numbers", `(rows, numbers)` float32, and "weight",
    `(rows,)` float32. The numbers are the single ones, then the labels, then the vectors. A label named WEIGHT + TASK
    is a factor of that task's weights; GROUP, int64, is a "group" of its own. Without a categorical feature there is no
    "ids", because tf.data crashes on arrays without columns.

    Args:
        features: Model inputs by name, int32 or float32, of shape `(rows,)` or `(rows, values)`.
        labels: Names of the labels.
    """

    def __init__(self, features: Mapping[str, tf.TensorSpec], labels: list[str]):
        self._features, self._labels = dict(features), [name for name in labels if name != GROUP]
        self._grouped = GROUP in labels
        self._tasks = [name for name in labels if not name.startswith("//")]
        self._widths = {name: 1 if s.shape.rank == 1 else s.shape[1] for name, s in features.items()}
        self._ids = [name for name, spec in features.items() if spec.dtype == tf.int32]
        self._numbers = [name for name, s in features.items() if s.dtype != tf.int32 and s.shape.rank == 1]
        self._vectors = [name for name, s in features.items() if s.dtype != tf.int32 and s.shape.rank == 2]

    def spec(self, rows: int) -> dict[str, tf.TensorSpec]:
        """Returns the shapes and types of `rows` packed examples."""
        ids = sum(self._widths[name] for name in self._ids)
        spec = {"ids": tf.TensorSpec([rows, ids], tf.int32)} if ids else {}
        if self._grouped:
            spec["group"] = tf.TensorSpec([rows], tf.int64)
        numbers = self._single + sum(self._widths[name] for name in self._vectors)
        return spec | {
            "numbers": tf.TensorSpec([rows, numbers], tf.float32),
            "weight": tf.TensorSpec([rows], tf.float32),
        }

    @property
    def _single(self) -> int:
        """Columns of "numbers" before those of the vectors."""
        return len(self._numbers) + len(self._labels)

    def label_column(self, name: str) -> int:
        """Returns the column of a label in "numbers"."""
        return len(self._numbers) + self._labels.index(name)

    def pack(
        self, features: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], weight: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns packed examples."""
        packed = {name: np.empty(s.shape, s.dtype.as_numpy_dtype) for name, s in self.spec(len(weight)).items()}
        columns: dict[str, list[np.ndarray]] = {"ids": [], "numbers": []}
        for name in self._ids:
            columns["ids"] += [features[name]] if features[name].ndim == 1 else list(features[name].T)
        columns["numbers"] += [*(features[name] for name in self._numbers), *(labels[name] for name in self._labels)]
        for begin in range(0, len(weight), AT_A_TIME):
            rows = slice(begin, begin + AT_A_TIME)
            for kind, of_kind in columns.items():
                for i, values in enumerate(of_kind):
                    packed[kind][rows, i] = values[rows]
            start = self._single
            for name in self._vectors:
                packed["numbers"][rows, start : start + self._widths[name]] = features[name][rows]
                start += self._widths[name]
        packed["weight"][:] = weight
        if self._grouped:
            packed["group"][:] = labels[GROUP]
        return packed

    def unpack(self, packed: Examples) -> tuple[Examples, Examples, np.ndarray | tf.Tensor | Examples]:
        """Returns features by name, labels by name, and weights; arrays give arrays, tensors give tensors.

        Weights are a dict by task if a task has weights of its own.
        """
        ids = _columns(packed["ids"]) if self._ids else iter(())
        single = packed["numbers"][:, : self._single] if self._vectors else packed["numbers"]
        numbers, features, start, column = _columns(single), {}, self._single, 0
        for name, spec in self._features.items():
            if name in self._numbers:
                features[name] = next(numbers)
            elif name in self._vectors:
                features[name] = packed["numbers"][:, start : start + self._widths[name]]
                start += self._widths[name]
            elif spec.shape.rank == 1:
                features[name] = next(ids)
                column += 1
            else:
                several = [next(ids) for _ in range(self._widths[name])]
                end = column + len(several)
                # A history of 50 values is one slice in a graph, not a stack of 50 tensors.
                array = isinstance(packed["ids"], np.ndarray)
                features[name] = np.stack(several, axis=1) if array else packed["ids"][:, column:end]
                column = end
        labels, weight = dict(zip(self._labels, numbers, strict=True)), packed["weight"]
        own = {name: labels.pop(WEIGHT + name) * weight for name in self._labels if WEIGHT + name in labels}
        if self._grouped:
            labels[GROUP] = packed["group"]
        return features, labels, {name: own.get(name, weight) for name in self._tasks} if own else weight


def _columns(array: np.ndarray | tf.Tensor) -> Iterator:
    return iter(array.T if isinstance(array, np.ndarray) else tf.unstack(array, axis=1))
