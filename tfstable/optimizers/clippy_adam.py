from typing import Any, Unpack

import keras

from tfstable.optimizers.adam import Adam, AdamArguments
from tfstable.optimizers.clippy import Clippy
from tfstable.optimizers.guarded import LearningRate


@keras.saving.register_keras_serializable(package="tfstable")
class ClippyAdam(Adam):
    """Adam with Clippy: `Adam(clipping=Clippy(...))`. Their docstrings have the equations.

    Args:
        learning_rate, **adam: See `Adam`; there is no `clipping`, and the default rate is larger.
        relative_threshold: lambda_rel, at least 0.
        absolute_threshold: lambda_abs, above 0.
        scope: See `Clippy`.

    Raises:
        ValueError: If an argument is outside its domain.
    """

    clipping: Clippy

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        relative_threshold: float = Clippy.relative,
        absolute_threshold: float = Clippy.absolute,
        *,
        scope: str = Clippy.scope,
        **adam: Unpack[AdamArguments],
    ) -> None:
        clipping = Clippy(relative_threshold, absolute_threshold, scope=scope)
        super().__init__(learning_rate, clipping=clipping, **adam)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        clipping = {
            "relative_threshold": self.clipping.relative,
            "absolute_threshold": self.clipping.absolute,
            "scope": self.clipping.scope,
        }
        del config["clipping"]
        return config | clipping
