"""The loss of Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model", 2023.

A task has two logits f1 and f0 there, and predicts sigmoid(f1 - f0). A positive's f1 competes with the f1 of its group,
a negative's f0 with the f0. The model below adds the second output; its place in a config is `model.class`.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfstable.models import RankingModel, list_losses
from tfstable.models import tasks as task_math
from tfstable.models.targets import groups, labels_by_task
from tfstable.specs import BinaryTask, ListLoss

SOFTMAX = BinaryTask(kind="binary", loss=ListLoss(kind="softmax"))


class TwoLogits(RankingModel):
    """RankingModel whose tasks `of` have a second output, f1 + f0; the first is f1 - f0.

    Args:
        share: Share of the list loss in a task's loss; the rest is cross-entropy.
        of: The tasks.
        second: Whether there is a second output; else f1 + f0 = 0.
    """

    def __init__(self, *args: Any, share: float = 0.5, of: tuple[str, ...] = (), second: bool = True, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.share, self.of = share, of
        layer = keras.layers.Dense if second else None
        self.sums = {name: layer(1, dtype=self.logit_dtype, name=f"sum_{name}") for name in of if layer}

    def heads(self, shared: Any, training: bool | None = None) -> dict[str, tf.Tensor]:
        towers = {name: self.towers[name](shared, training=training) for name in self.task_specs}
        self._sums = {name: tf.squeeze(layer(towers[name]), axis=1) for name, layer in self.sums.items()}
        return {name: tf.squeeze(self.outputs_of[name](tower), axis=1) for name, tower in towers.items()}

    def task_losses(self, y: Any, logits: Mapping[str, tf.Tensor], sample_weight: Any = None) -> dict[str, tf.Tensor]:
        losses = super().task_losses(y, logits, sample_weight)
        y = labels_by_task(self.task_specs, y, self.logit_dtype)
        for name in self.of:
            total = self._sums.get(name, 0.0)
            of_class = (y[name], (total + logits[name]) / 2), (1 - y[name], (total - logits[name]) / 2)
            lists = tf.add_n([list_losses.loss(SOFTMAX, f, labels, groups(y), sample_weight) for labels, f in of_class])
            each = (1 - self.share) * task_math.loss(self.task_specs[name], logits[name], y[name]) + self.share * lists
            losses[name] = tf.reduce_mean(each * sample_weight)
        return losses
