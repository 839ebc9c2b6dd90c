"""MMoE: experts that all tasks share, and one gate per task that weighs them.

    y_k = tower_k( sum_i softmax(W_k x)_i * expert_i(x) )

Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", 2018.

    tfstable train --config examples/mmoe.yaml --model-dir runs/mmoe
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.models import RankingModel


@keras.saving.register_keras_serializable(package="examples")
class MMoE(RankingModel):
    """RankingModel whose shared bottom is a mixture of experts, one mixture per task.

    Args:
        experts: Number of experts; each is a dense stack of `expert_units`.
        expert_units: Widths of an expert's layers.
        **kwargs: The arguments of `RankingModel`.
    """

    def __init__(self, *args: Any, experts: int = 4, expert_units: Sequence[int] = (128,), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expert_options = {"experts": experts, "expert_units": list(expert_units)}
        self.experts = [self.dense_stack(expert_units, f"expert_{i}") for i in range(experts)]
        self.gates = {
            task: keras.layers.Dense(experts, activation="softmax", name=f"gate_{task}", dtype=self.dtype_policy)
            for task in self.task_specs
        }

    def shared_bottom(self, x: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        x = self.bottom(x, training=training)
        experts = tf.stack([expert(x, training=training) for expert in self.experts], axis=1)  # (batch, experts, units)
        return {task: tf.einsum("be,beu->bu", gate(x), experts) for task, gate in self.gates.items()}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.expert_options}
