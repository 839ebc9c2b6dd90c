import warnings
from typing import Any, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.adagrad import Adagrad, AdagradArguments, adagrad_direction
from tfstable.optimizers.clippy import Clippy
from tfstable.optimizers.domains import check_number
from tfstable.optimizers.guarded import LearningRate
from tfstable.optimizers.rule import State


@keras.saving.register_keras_serializable(package="tfstable")
class ClippyAdagrad(Adagrad):
    """Adagrad with Clippy, in the order and with the defaults of the paper.

        G_t     = G_{t-1} + g_t^2
        r_t     = g_t / sqrt(G + epsilon),  G = G_t, or G_{t-1} with delayed_accumulator
        sigma_t = min(1, min_i (relative |w_i| + accumulator_relative / sqrt(G_i + epsilon) + absolute) / (eta |r_i|))
        w_{t+1} = w_t - eta sigma_t r_t

    With its defaults it equals `Adagrad(clipping=Clippy())`. The options come from the authors' code, TFRS 0.7.7:

        TFRS                                here
        variable_relative_threshold         relative_threshold
        accumulator_relative_threshold      accumulator_relative_threshold
        absolute_threshold                  absolute_threshold
        initial_accumulator_value           initial_accumulator
        epsilon                             epsilon
        use_standard_accumulator_update     not delayed_accumulator
        clip_accumulator_update             clip_accumulator_update
        export_clipping_factors             track_every=1, read by `diagnostics()`

    Its defaults differ: relative 0.1, absolute 1e-7, epsilon 1e-7 and the delayed accumulator.

    Args:
        learning_rate, **adagrad: See `Adagrad`; there is no `clipping`.
        relative_threshold: lambda_rel, at least 0.
        absolute_threshold: lambda_abs, above 0. While the learning rate does not exceed it, nothing can be clipped
            (unless the accumulator is delayed, where |r| may exceed 1); a warning then says so.
        accumulator_relative_threshold: Loosens the bound while a weight's accumulator is small, as above. At least 0.
        delayed_accumulator: Divide by G_{t-1}, which does not contain g_t yet.
        clip_accumulator_update: Add (sigma_t g_t)^2 to G instead of g_t^2, as `accumulate="clipped"` of `Clippy` does.
            sigma_t is that of the G above, with g_t^2 unless it is delayed.
        scope: See `Clippy`.

    Raises:
        ValueError: If an argument is outside its domain.

    Reference:
        Tang et al., "Improving Training Stability for Multitask Ranking Models in Recommender Systems", KDD 2023.

    Examples:
        G = 0.75 + 0.5^2 = 1, so r = 0.5. The step 4 * 0.5 = 2 exceeds the bound 0.5 * 1 + 0.125 = 0.625, so w moves by
        the bound.

        >>> from tfstable.optimizers import ClippyAdagrad
        >>> optimizer = ClippyAdagrad(
        ...     learning_rate=4.0, relative_threshold=0.5, absolute_threshold=0.125, initial_accumulator=0.75
        ... )
        >>> w = keras.Variable([1.0])
        >>> optimizer.apply([tf.constant([0.5])], [w])
        >>> w.numpy().tolist()
        [0.375]
    """

    clipping: Clippy

    def __init__(
        self,
        learning_rate: LearningRate = 0.1,
        relative_threshold: float = Clippy.relative,
        absolute_threshold: float = Clippy.absolute,
        accumulator_relative_threshold: float = 0.0,
        *,
        delayed_accumulator: bool = False,
        clip_accumulator_update: bool = False,
        scope: str = Clippy.scope,
        **adagrad: Unpack[AdagradArguments],
    ) -> None:
        check_number("accumulator_relative_threshold", accumulator_relative_threshold, least=0)
        clipping = Clippy(relative_threshold, absolute_threshold, scope=scope)
        super().__init__(learning_rate, clipping=clipping, **adagrad)
        self.accumulator_relative_threshold = accumulator_relative_threshold
        self.delayed_accumulator = delayed_accumulator
        self.clip_accumulator_update = clip_accumulator_update
        if not (callable(learning_rate) or delayed_accumulator) and learning_rate <= absolute_threshold:
            warnings.warn(
                f"ClippyAdagrad clips nothing here: no update exceeds learning_rate={learning_rate:g}, and "
                f"absolute_threshold={absolute_threshold:g} is always allowed.",
                stacklevel=2,
            )

    def rule(
        self,
        gradient: tf.Tensor,
        weight: tf.Tensor,
        state: State,
        rate: tf.Tensor,
        step: tf.Tensor,
        is_table: bool,
        padding: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, State]:
        (accumulator,) = state
        new_accumulator = accumulator + tf.square(gradient)
        square = (accumulator if self.delayed_accumulator else new_accumulator) + self.epsilon
        update = adagrad_direction(gradient, square)  # 0 in padding, where the gradient is 0
        bound = self.clipping.relative * tf.abs(weight)
        if self.accumulator_relative_threshold:
            bound += self.accumulator_relative_threshold * tf.math.rsqrt(square)
        bound += self.clipping.absolute  # last, where graphs would move it anyway: eager execution must do the same
        factor = self.clipping.shrink(update, bound, rate, is_table)
        if self.clip_accumulator_update:
            new_accumulator = accumulator + tf.square(factor * gradient)
        return update, factor, (new_accumulator,)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {
            "relative_threshold": self.clipping.relative,
            "absolute_threshold": self.clipping.absolute,
            "accumulator_relative_threshold": self.accumulator_relative_threshold,
            "delayed_accumulator": self.delayed_accumulator,
            "clip_accumulator_update": self.clip_accumulator_update,
            "scope": self.clipping.scope,
        }
        del config["clipping"]
        return config
