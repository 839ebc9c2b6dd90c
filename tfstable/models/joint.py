"""A ranking model whose tasks have two logits, for the loss `jrc`."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfstable.models.ranking import RankingModel
from tfstable.specs import LOGIT_SUM, BinaryTask


@keras.saving.register_keras_serializable(package="tfstable")
class JointRanking(RankingModel):
    """RankingModel in which each task with `loss: {kind: jrc}` has two logits, f1 and f0.

    The prediction is sigmoid(f1 - f0), so f1 - f0 is the task's logit. f1 + f0, from a second output layer, is seen by
    the loss alone: it leaves the model free to order the rows of a group by f1 while f1 - f0 stays calibrated.

    Args:
        **kwargs: See `RankingModel`.

    Reference:
        Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model", 2023.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sums_of = {
            name: keras.layers.Dense(1, dtype=self.logit_dtype, name=f"sum_{name}")
            for name, task in self.task_specs.items()
            if isinstance(task, BinaryTask) and task.loss is not None and task.loss.kind == "jrc"
        }

    def heads(self, shared: tf.Tensor | Mapping[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns the logits of each task, then f1 + f0 under LOGIT_SUM + its name, `(batch,)` each."""
        logits, sums = {}, {}
        for name in self.task_specs:
            x = self.towers[name](shared[name] if isinstance(shared, Mapping) else shared, training=training)
            logits[name] = tf.squeeze(self.outputs_of[name](x), axis=1)
            if name in self.sums_of:
                sums[LOGIT_SUM + name] = tf.squeeze(self.sums_of[name](x), axis=1)
        return logits | sums
