"""How steps are shrunk: the clippings of eq. (5) of Tang et al., 2023, as keys. Imports no TensorFlow."""

from typing import Annotated, Literal

from pydantic import Field

from tfstable.specs import NonNegative, Positive, Spec

CLIPPY_OF_ADAGRAD = ("delayed_accumulator", "clip_accumulator", "accumulator_relative")  # Keys of Clippy for Adagrad.
SCOPE = "Group of weights that shares one clipping factor: a whole tensor, or a row of a table."
Accumulate = Annotated[
    Literal["raw", "clipped"],
    Field(
        description="What enters the rule's state, such as Adagrad's sum of squares. raw: the gradient. clipped: the "
        "gradient times the factor, so that a spike is not remembered."
    ),
]


class ClippyConfig(Spec):
    """Clippy: no weight moves by more than relative * |w| + absolute in a step (Tang et al., 2023)."""

    kind: Literal["clippy"]
    relative: NonNegative = Field(0.5, description="Largest change of a weight relative to its size.")
    absolute: Positive = Field(1e-2, description="Change that is always allowed, in the units of the weights.")
    scope: Literal["tensor", "row", "element"] = Field(
        "tensor",
        description="Group of weights that shares one clipping factor: a whole tensor, a row of a table, or a single "
        "weight.",
    )
    accumulate: Accumulate = "raw"
    delayed_accumulator: bool = Field(
        False,
        description="Adagrad divides by the sum of squares before this step, as TFRS's ClippyAdagrad does by default.",
    )
    clip_accumulator: bool = Field(
        False, description="Add the clipped gradient's square to Adagrad's sum: the same as accumulate: clipped."
    )
    accumulator_relative: NonNegative = Field(
        0.0, description="Loosen the bound by this over the root of Adagrad's sum of squares."
    )

    @property
    def of_adagrad(self) -> dict[str, bool | float]:
        """The keys that depend on Adagrad's sum of squares, if one is set."""
        keys = {name: getattr(self, name) for name in CLIPPY_OF_ADAGRAD}
        return keys if any(keys.values()) else {}


class GradientNormConfig(Spec):
    """GC: the factor min(1, threshold / ||g||), per tensor."""

    kind: Literal["gradient_norm"]
    threshold: Positive = Field(0.1, description="Largest norm of a gradient that is not clipped.")
    scope: Literal["tensor", "row"] = Field("tensor", description=SCOPE)
    accumulate: Accumulate = "raw"


class AdaptiveGradientConfig(Spec):
    """AGC: the factor min(1, threshold * max(||w||, floor) / ||g||), per output unit."""

    kind: Literal["adaptive_gradient"]
    threshold: Positive = Field(1e-2, description="Largest norm of a gradient, relative to the norm of the weights.")
    floor: Positive = Field(1e-3, description="Weights of a smaller norm count with this norm, so that zeros can move.")
    scope: Literal["tensor", "row"] = Field("tensor", description=SCOPE)
    accumulate: Accumulate = "raw"


class TrustRatioConfig(Spec):
    """LAMB's factor mu * ||w|| / ||r||, per tensor."""

    kind: Literal["trust_ratio"]
    mu: Positive = Field(1e-2, description="Size of a step relative to the norm of the weights.")
    scope: Literal["tensor", "row"] = Field("tensor", description=SCOPE)
    accumulate: Accumulate = "raw"


ClippingConfig = Annotated[
    ClippyConfig | GradientNormConfig | AdaptiveGradientConfig | TrustRatioConfig, Field(discriminator="kind")
]
