"""The config's sections on divergence: its definition and the recovery from it. Imports no TensorFlow."""

from typing import Any

from pydantic import Field, model_validator

from tfstable.specs import Spec

# Keys of earlier versions that are constants now, with their former defaults.
FORMER = {
    "reach": 4.0,
    "material": 0.1,
    "settled": 10,
    "drift": 2.0,
    "chance": 2.0,
    "measurable": 6.0,
    "collapse": 0.5,
    "calibration": 10.0,
    "error": 10.0,
}


class DivergenceConfig(Spec):
    """The rules that make a jump of the loss a divergence; docs/stability.md explains them.

    `horizon` and `patience` depend on the number of steps of a run, `jump` on the difference between its windows. The
    other numbers are constants of `trainers.health`, each with its reason.
    """

    horizon: int = Field(100, ge=10, description="A jump is judged by the losses of this many steps before it.")
    patience: int = Field(
        100, ge=10, description="A jump that has not come back within this many steps is a full divergence."
    )
    jump: float = Field(
        2.0,
        gt=1,
        allow_inf_nan=False,
        description="A jump exceeds the largest loss of the horizon by this factor. Raise it if a run makes many "
        "passes over each window, because its loss then rises at the start of the next window.",
    )

    @model_validator(mode="before")
    @classmethod
    def _former_keys_have_their_values(cls, keys: Any) -> Any:
        if not isinstance(keys, dict):
            return keys
        for key, value in FORMER.items():
            if keys.get(key, value) != value:
                raise ValueError(f"{key} is a constant ({value:g}) since version 0.1.0; remove the key")
        return {key: value for key, value in keys.items() if key not in FORMER}


class RecoveryConfig(Spec):
    """The recovery from a divergence: a run returns to the newest checkpoint known to be good, then does this."""

    most: int = Field(
        3,
        ge=0,
        description="Largest number of recoveries without a whole healthy window between them; one more divergence "
        "stops the run. 0: the first divergence stops it.",
    )
    skip_batches: bool = Field(
        True, description="Leave out the batches that diverged; if that fails, leave out the whole window."
    )
    rate_factor: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Multiply the learning rates by this after a recovery; 1 keeps them. Each whole healthy window "
        "then doubles them, up to their original values.",
    )
