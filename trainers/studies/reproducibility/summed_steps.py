"""Train steps that sum a batch's gradients from equal parts, as replicas do."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfstable.models.targets import Rows
from trainers.build.steps import Steps


class SummedSteps(Steps):
    """`Steps` on one device whose sums round like sums over replicas.

    Args:
        parts: Parts of a batch, in order, each of which a replica would take; must divide the batch.
    """

    def __init__(self, *args: Any, parts: int):
        super().__init__(*args)
        self._parts = parts

    def _gradients(
        self, features: Any, labels: Any, weight: Any, rows: Rows, step: tf.Tensor
    ) -> tuple[list[Any], tf.Tensor, dict[str, tf.Tensor]]:
        if self._parts == 1:
            return super()._gradients(features, labels, weight, rows, step)
        each = rows.total // self._parts
        batch = (features, labels, weight)
        pieces = [tf.nest.map_structure(lambda x, i=i: tf.split(x, self._parts)[i], batch) for i in range(self._parts)]
        of_parts = [
            super(SummedSteps, self)._gradients(x, y, w, Rows(i * each, rows.total), step)
            for i, (x, y, w) in enumerate(pieces)
        ]
        gradients, losses, shares = zip(*of_parts, strict=True)
        # Each part's loss is a mean over its own rows.
        shares_of_all = {name: tf.add_n([part[name] for part in shares]) / self._parts for name in shares[0]}
        return [_mean(parts) for parts in zip(*gradients, strict=True)], tf.add_n(losses) / self._parts, shares_of_all


def _mean(gradients: Sequence[Any]) -> Any:
    """Returns the mean of gradients, dense or sparse; the optimizer sums the duplicate rows of sparse ones."""
    n = len(gradients)
    if isinstance(gradients[0], tf.IndexedSlices):
        values = tf.concat([g.values for g in gradients], axis=0) / n
        return tf.IndexedSlices(values, tf.concat([g.indices for g in gradients], axis=0), gradients[0].dense_shape)
    return tf.add_n(gradients) / n
