"""A ranking model that is a small committee on shared tables."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfstable.models.experts import experts_above
from tfstable.models.ranking import RankingModel


@keras.saving.register_keras_serializable(package="tfstable")
class Committee(RankingModel):
    """RankingModel with several bottoms and towers, each with initial weights of its own, whose logits are averaged:

        logit = 1/M sum_m head_m(bottom_m(x))

    Two trainings of one network end in different functions of nearly equal quality; a mean of M such functions varies
    less. An ensemble achieves this at M times the cost. Here the members share the input pipeline, the embedding tables
    and a step, so they may be small. They learn together, from the loss of their mean, so they are less independent
    than the models of an ensemble.

    Args:
        members: M, at least 1.
        **kwargs: See `RankingModel`. `units`, `bottom` and `tower_units` hold for one member; without experts `units`
            must not be empty.

    Raises:
        ValueError: If `members` is below 1, or `units` is empty without experts.

    Reference:
        Hansen, Salamon, "Neural Network Ensembles", 1990.
    """

    def __init__(self, *args: Any, members: int = 4, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        units, tower_units, rezero = self.options.units, self.options.tower_units, self.options.rezero
        widths = units if self.expert_bottom is None else (self.expert_bottom.width,)
        if members < 1 or not widths:
            raise ValueError(f"members must be at least 1 and units not empty, got {members=}, {units=}")
        self.members, self._width, others = members, widths[-1], range(1, members)
        self.bottoms = [self.bottom, *(self.dense_stack(units, f"bottom_{m}", rezero=rezero) for m in others)]
        more = [experts_above(self.options, self.towers, f"experts_{m}", self.dtype_policy) for m in others]
        self.expert_bottoms = [experts for experts in (self.expert_bottom, *more) if experts is not None]
        self.towers_of, self.outputs_by_member = {}, {}
        for name in self.towers:
            towers = [self.dense_stack(tower_units, f"tower_{name}_{m}") for m in others]
            self.towers_of[name] = [self.towers[name], *towers]
            outputs = [self.output_layer(name, f"output_{name}_{m}") for m in others]
            self.outputs_by_member[name] = [self.outputs_of[name], *outputs]

    def shared_bottom(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor | dict[str, tf.Tensor]:
        """Returns the outputs of the members' bottoms side by side, `(batch, members * units)`; by task of experts."""
        members = [bottom(x, training=training) for bottom in self.bottoms]
        if not self.expert_bottoms:
            return tf.concat(members, axis=1)
        of_tasks = [experts(x, training=training) for experts, x in zip(self.expert_bottoms, members, strict=True)]
        return {task: tf.concat([each[task] for each in of_tasks], axis=1) for task in self.towers}

    def heads(self, shared: Any, training: bool | None = None) -> dict[str, tf.Tensor]:
        logits = {}
        for name in self.towers:
            x = shared[name] if isinstance(shared, Mapping) else shared
            members = zip(self._inputs(x), self.towers_of[name], self.outputs_by_member[name], strict=True)
            each = [output(tower(x, training=training)) for x, tower, output in members]  # (batch, 1) per member
            logits[name] = tf.squeeze(tf.add_n(each), axis=1) / self.members
        return logits

    def _inputs(self, shared: Any) -> list[tf.Tensor]:
        """What each member's towers read, `(batch, width)`."""
        if not tf.is_tensor(shared) or shared.shape[-1] < self.members * self._width:
            raise ValueError(
                f"shared_bottom must put out one tensor with {self.members} members of {self._width} side by side, got "
                f"{shared.shape if tf.is_tensor(shared) else sorted(shared)}"
            )
        own, common = shared[:, : self.members * self._width], shared[:, self.members * self._width :]
        # The output of parallel cross layers goes to every member.
        return [tf.concat([part, common], axis=1) for part in tf.split(own, self.members, axis=1)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "members": self.members}
