"""The config's divergence section: when a loss curve counts as diverged. Imports no TensorFlow."""

from typing import Annotated

from pydantic import Field

from tfstable.specs import Spec

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DivergenceConfig(Spec):
    """The rules that `trainers.health.detector` applies; docs/stability.md explains them with pictures."""

    horizon: int = Field(100, ge=10, description="Steps before a jump that say what is normal.")
    patience: int = Field(
        100, ge=10, description="Steps within which a jump must recover, else it is a full divergence."
    )
    jump: float = Field(
        2.0, gt=1, allow_inf_nan=False, description="A jump exceeds the horizon's largest loss by this factor."
    )
    reach: float = Field(
        4.0,
        ge=1,
        allow_inf_nan=False,
        description="A jump goes beyond the median by this factor of the horizon's largest excursion, in logarithms.",
    )
    material: Positive = Field(
        0.1, description="A jump exceeds its median by at least this share of the total loss: rare tasks are spiky."
    )
    settled: int = Field(
        10, ge=1, description="Steps whose median is back in the horizon's lower 90% when a jump has recovered."
    )
    drift: float = Field(
        2.0, gt=1, allow_inf_nan=False, description="A whole horizon above the untrained model's loss by this factor."
    )
    chance: Positive = Field(2.0, description="Standard errors of 0.5 within which a day's AUC is chance.")
    measurable: Positive = Field(
        6.0, description="Standard errors above 0.5 at which an earlier AUC was no chance, so that losing it counts."
    )
    collapse: float = Field(0.5, gt=0, lt=1, description="Share of an earlier AUC's excess over 0.5 whose loss counts.")
    calibration: float = Field(
        10.0,
        gt=1,
        allow_inf_nan=False,
        description="Predicted over observed, or its inverse, beyond which it is absurd, unless positives are few.",
    )
    error: float = Field(
        10.0, gt=1, allow_inf_nan=False, description="An RMSE beyond this factor of the earlier days' median is absurd."
    )


class RecoveryConfig(Spec):
    """What a run does when it has diverged: it goes back to the newest checkpoint known to be good, and then this."""

    most: int = Field(
        3,
        ge=0,
        description="Recoveries in a row, with no whole window in line between them; then the run stops. 0: it stops.",
    )
    skip_batches: bool = Field(True, description="Leave out the batches that did it; the second time, the window.")
    rate_factor: float = Field(
        0.5,
        gt=0,
        le=1,
        description="What the learning rates are multiplied by; 1 to keep them. Each whole window in line after that "
        "doubles them, until they are what they were when the run was last in line.",
    )
