import dataclasses

import keras
import tensorflow as tf

from tfstable.optimizers.clipping import Clipping, squared_norm
from tfstable.optimizers.domains import check_number


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class GradientNorm(Clipping):
    """Gradient clipping (GC): shrinks the update by the factor by which the gradient's norm exceeds a threshold.

        sigma = min(1, threshold / ||g||_2)

    As in eq. (5), the factor multiplies the update; common code scales the gradient before the rule sees it.

    Args:
        threshold: lambda, above 0. The paper tries 1e-1, 1e-2 and 1e-3.
        scope: "tensor": one norm per tensor, or over the touched rows of a table. "row": one norm per row of a table.
        accumulate: See `Clipping`.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Pascanu, Mikolov, Bengio, "On the Difficulty of Training Recurrent Neural Networks", 2013; in the form of Tang
        et al., "Improving Training Stability for Multitask Ranking Models in Recommender Systems", KDD 2023.

    Examples:
        The gradient has a norm of 5, so a threshold of 1 leaves a fifth of the step.

        >>> from tfstable.optimizers import GradientNorm
        >>> gradient = tf.constant([3.0, 4.0])
        >>> factor = GradientNorm(threshold=1.0)(gradient, gradient, gradient, rate=0.1, is_table=False)
        >>> round(float(factor[0]), 6)
        0.2
    """

    threshold: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("threshold", self.threshold, above=0)

    def __call__(
        self, update: tf.Tensor, gradient: tf.Tensor, weight: tf.Tensor, rate: tf.Tensor, is_table: bool
    ) -> tf.Tensor:
        square = squared_norm(gradient, self.axes(gradient, is_table))
        return tf.minimum(self.threshold * tf.math.rsqrt(square), 1.0)
