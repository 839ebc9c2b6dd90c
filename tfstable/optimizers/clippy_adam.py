import keras

from tfstable.optimizers.adam import Adam
from tfstable.optimizers.clippy import Clippy


@keras.saving.register_keras_serializable(package="tfstable")
class ClippyAdam(Adam):
    """Adam with Clippy: `Adam(clipping=Clippy(...))`. Their docstrings have the equations.

    Args:
        learning_rate, weight_decay, on_nonfinite, track_every, name: See `RuleOptimizer`.
        relative_threshold: lambda_rel, at least 0.
        absolute_threshold: lambda_abs, above 0.
        beta_1: At least 0, below 1.
        beta_2: At least 0, below 1.
        epsilon: Above 0.
        scope: See `Clippy`.

    Raises:
        ValueError: If an argument is outside its domain.
    """

    def __init__(
        self,
        learning_rate=0.01,
        relative_threshold=0.5,
        absolute_threshold=1e-2,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        scope="tensor",
        weight_decay=None,
        on_nonfinite="skip",
        track_every=0,
        name="clippy_adam",
    ):
        clipping = Clippy(relative_threshold, absolute_threshold, scope=scope)
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, clipping, weight_decay, on_nonfinite, track_every, name
        )

    def get_config(self):
        config = super().get_config()
        clipping = {
            "relative_threshold": self.clipping.relative,
            "absolute_threshold": self.clipping.absolute,
            "scope": self.clipping.scope,
        }
        del config["clipping"]
        return config | clipping
