import dataclasses

import keras
import tensorflow as tf

from tfstable.optimizers.clipping import Clipping, squared_norm
from tfstable.optimizers.domains import check_number


@keras.saving.register_keras_serializable(package="tfstable")
@dataclasses.dataclass(frozen=True)
class TrustRatio(Clipping):
    """Layer-wise adaptation (LAMB): makes every step a fixed fraction of the weight's norm.

        mu * sigma,  sigma = ||w||_2 / ||r||_2, or 1 where either norm is 0

    The exception lets weights that start at zero move. Unlike the other clippings, this one also enlarges updates.

    Args:
        mu: The fraction, above 0. The paper tries 1e-1, 1e-2 and 1e-3.
        scope: "tensor": norms of the whole tensor, or of the touched rows of a table. "row": norms per row of a table.
        accumulate: See `Clipping`. "clipped" has mu in it, too: the state hardly grows, and r is almost the gradient.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", 2020; in the form of Tang
        et al., "Improving Training Stability for Multitask Ranking Models in Recommender Systems", KDD 2023.

    Examples:
        The weights have a norm of 10 and the update one of 5: the step becomes 0.5 * 10 in norm.

        >>> from tfstable.optimizers import TrustRatio
        >>> update, weight = tf.constant([3.0, 4.0]), tf.constant([6.0, 8.0])
        >>> TrustRatio(mu=0.5)(update, update, weight, rate=1.0, is_table=False).numpy().tolist()
        [1.0]
    """

    mu: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("mu", self.mu, above=0)

    def __call__(
        self, update: tf.Tensor, gradient: tf.Tensor, weight: tf.Tensor, rate: tf.Tensor, is_table: bool
    ) -> tf.Tensor:
        axes = self.axes(weight, is_table)
        weight_square, update_square = squared_norm(weight, axes), squared_norm(update, axes)
        has_ratio = (weight_square > 0) & (update_square > 0)
        return self.mu * tf.where(has_ratio, tf.sqrt(weight_square / update_square), 1.0)
