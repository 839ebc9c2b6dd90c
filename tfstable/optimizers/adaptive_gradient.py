import dataclasses

import keras
import tensorflow as tf

from tfstable.optimizers.clipping import Clipping, squared_norm
from tfstable.optimizers.domains import check_number


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class AdaptiveGradient(Clipping):
    """Adaptive gradient clipping (AGC): bounds the gradient's norm relative to the weight's, unit by unit.

        sigma_j = min(1, threshold max(||w_j||_2, floor) / ||g_j||_2)

    A unit j is one output column of a kernel: the norms run over all axes except the last. A tensor of one axis is one
    unit.

    Args:
        threshold: lambda, above 0. The paper tries 1e-2, 1e-3 and 1e-4.
        floor: Lower bound of a unit's weight norm in the formula, so that units of zeros can move. Above 0.
        scope: "tensor": units as above; for a table, columns over the touched rows. "row": each row of a table is one
            unit.
        accumulate: See `Clipping`.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Brock, De, Smith, Simonyan, "High-Performance Large-Scale Image Recognition Without Normalization", 2021.

    Examples:
        The weights have a norm of 5 and the gradient one of 10: 0.5 * 5 / 10.

        >>> from tfstable.optimizers import AdaptiveGradient
        >>> gradient, weight = tf.constant([6.0, 8.0]), tf.constant([3.0, 4.0])
        >>> AdaptiveGradient(threshold=0.5)(gradient, gradient, weight, rate=0.1, is_table=False).numpy().tolist()
        [0.25]
    """

    threshold: float = 1e-2
    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, above=0)
        check_number("floor", self.floor, above=0)

    def __call__(
        self, update: tf.Tensor, gradient: tf.Tensor, weight: tf.Tensor, rate: tf.Tensor, is_table: bool
    ) -> tf.Tensor:
        axes = self.axes(weight, is_table)
        if axes[:1] == [0] and weight.shape.rank > 1:
            axes = axes[:-1]
        ratio = tf.maximum(squared_norm(weight, axes), self.floor**2) / squared_norm(gradient, axes)
        return tf.minimum(self.threshold * tf.sqrt(ratio), 1.0)
