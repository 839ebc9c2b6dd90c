import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from tfstable.optimizers.clipping import Clipping
from tfstable.optimizers.domains import check_number


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class Clippy(Clipping):
    """Clips the update so that no coordinate moves by more than a fraction of itself.

        sigma = min(1, min_i (relative |w_i| + absolute) / (eta |r_i|))

    Args:
        relative: lambda_rel, the largest change of a weight relative to itself. At least 0.
        absolute: lambda_abs, the change that is always allowed, in the units of the weights. Above 0: at 0, a zero
            weight could never move, and neither could any other weight of its tensor.
        scope: The range of the inner minimum. "tensor": the whole tensor, as in the paper; for a sparse gradient, the
            touched rows of the table. "row": one minimum per row of a table, so that one near-zero row does not
            throttle the batch; dense tensors as under "tensor". "element": one factor per coordinate. This keeps the
            bound per coordinate and the signs of the step, so the step still descends, but it changes the step's
            direction.
        accumulate: See `Clipping`.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Tang et al., "Improving Training Stability for Multitask Ranking Models in Recommender Systems", KDD 2023.

    Examples:
        The bound of the only weight is 0.5 * 4 + 0.25 = 2.25, and its step is 0.5 * 9 = 4.5: the factor halves it.

        >>> from tfstable.optimizers import Clippy
        >>> clippy, update, weight = Clippy(relative=0.5, absolute=0.25), tf.constant([9.0]), tf.constant([4.0])
        >>> clippy(update, update, weight, rate=0.5, is_table=False).numpy().tolist()
        [0.5]

        Any optimizer of tfstable takes it:

        >>> from tfstable.optimizers import Adam
        >>> optimizer = Adam(learning_rate=0.01, clipping=Clippy())
    """

    relative: float = 0.5
    absolute: float = 1e-2

    scopes: ClassVar[tuple[str, ...]] = ("tensor", "row", "element")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("relative", self.relative, least=0)
        check_number("absolute", self.absolute, above=0)

    def __call__(
        self, update: tf.Tensor, gradient: tf.Tensor, weight: tf.Tensor, rate: tf.Tensor, is_table: bool
    ) -> tf.Tensor:
        return self.shrink(update, self.relative * tf.abs(weight) + self.absolute, rate, is_table)

    def shrink(self, update: tf.Tensor, bound: tf.Tensor, rate: tf.Tensor, is_table: bool) -> tf.Tensor:
        """The largest factor, at most 1, with eta * factor * |r_i| <= bound_i wherever the scope shares it."""
        # Where r_i = 0 the ratio is infinite, which bounds nothing: the bound itself is positive.
        ratio = bound / tf.abs(update)
        if self.scope != "element":
            ratio = tf.reduce_min(ratio, self.axes(update, is_table), keepdims=True)
        return tf.minimum(ratio / rate, 1.0)
