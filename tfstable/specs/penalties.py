"""What training adds to the loss so that a model generalises better, each with its keys and their rules."""

from typing import Annotated, Literal

from pydantic import Field

from tfstable.specs.base import CHANGEABLE, Positive, Spec


class NoisePenalty(Spec):
    """Train on input vectors with normal noise. Reported losses are those of the noisy rows, as under dropout."""

    kind: Literal["noise"]
    stddev: Positive = Field(
        description="Standard deviation of the noise on each element of the input vector, in which an embedding that "
        "is normalised has a root mean square of about 1, and a number a standard deviation of 1.",
        json_schema_extra=CHANGEABLE,
    )


class GradientPenalty(Spec):
    """Add weight/2 times the mean of ||g_i||^2, g_i the gradient of row i's loss by its input vector."""

    kind: Literal["gradient"]
    weight: Positive = Field(description="Factor of half the mean square.", json_schema_extra=CHANGEABLE)


class FgmPenalty(Spec):
    """Train on each row, and on the row moved by `epsilon` along its gradient g_i (Miyato et al., 2017)."""

    kind: Literal["fgm"]
    epsilon: Positive = Field(
        description="Length of the move, in the units of the input vector.", json_schema_extra=CHANGEABLE
    )
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Share of the moved rows in the loss.", json_schema_extra=CHANGEABLE
    )


class VatPenalty(Spec):
    """Add the divergence of a row's prediction from that where it changes most nearby (Miyato et al., 2018)."""

    kind: Literal["vat"]
    epsilon: Positive = Field(
        description="How far away, in the units of the input vector.", json_schema_extra=CHANGEABLE
    )
    weight: Positive = Field(1.0, description="Factor of the mean divergence.", json_schema_extra=CHANGEABLE)


class FloodingPenalty(Spec):
    """Minimise |L - level|, L the loss of a whole batch: below the level, climb (Ishida et al., 2020)."""

    kind: Literal["flooding"]
    level: Positive = Field(
        description="The level, in the units of the total loss: the tasks' weighted sum, a mean over the rows with a "
        "weight above 0.",
        json_schema_extra=CHANGEABLE,
    )


class WeightGradientPenalty(Spec):
    """Add rate/4 times ||grad L||^2, by the weights that are no tables, L the loss of a whole batch."""

    kind: Literal["weight_gradient"]
    rate: Positive = Field(
        description="Under plain gradient descent a small rate trains with this like one that is greater by `rate` "
        "(Barrett, Dherin, 2021).",
        json_schema_extra=CHANGEABLE,
    )


#: The kinds that move the rows' input vectors, or differentiate by them.
MOVING = ("noise", "gradient", "fgm", "vat")

Penalty = Annotated[
    NoisePenalty | GradientPenalty | FgmPenalty | VatPenalty | FloodingPenalty | WeightGradientPenalty,
    Field(discriminator="kind", title="Penalty"),
]
