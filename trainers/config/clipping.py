"""How steps are shrunk: the clippings of eq. (5) of Tang et al., 2023, as keys. Imports no TensorFlow."""

from typing import Annotated, Literal

from pydantic import Field

from tfstable.specs import NonNegative, Positive, Spec

CLIPPY_OF_ADAGRAD = ("delayed_accumulator", "clip_accumulator", "accumulator_relative")  # Keys of Clippy for Adagrad.
Fraction = Annotated[float, Field(ge=0, lt=1)]
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


class AdaGCConfig(Spec):
    """AdaGC: the gradient's norm, per tensor, against the mean of its earlier norms."""

    kind: Literal["adagc"]
    relative: Positive = Field(1.05, description="Largest norm of a gradient, relative to the mean.")
    absolute: Positive = Field(
        1.0, description="Largest norm of all gradients of dense variables, or of tables, together, in the warm-up."
    )
    beta: Fraction = Field(0.98, description="Share of the old mean.")
    warmup_steps: int = Field(100, ge=1, description="Steps before the means count.")
    accumulate: Accumulate = "clipped"


class ZClipConfig(Spec):
    """ZClip: the common norm of all gradients of dense variables, or of tables, against its mean and deviation."""

    kind: Literal["zclip"]
    threshold: Positive = Field(2.5, description="Deviations above the mean that are not clipped.")
    alpha: Fraction = Field(0.97, description="Share of the old mean and variance.")
    warmup_steps: int = Field(25, ge=1, description="Steps before anything is clipped.")
    accumulate: Accumulate = "clipped"


class AdaGNConfig(Spec):
    """AdaGN, of Stable-SPAM: the gradient of each tensor gets a norm of about 1."""

    kind: Literal["adagn"]
    gamma_1: Fraction = Field(0.7, description="Share of the old mean of norms.")
    gamma_2: Fraction = Field(0.9, description="Share of the old mean of squared norms.")
    accumulate: Accumulate = "clipped"


WITH_STATE = ("adagc", "zclip", "adagn")  # A run that has begun cannot take one of them up.
ClippingConfig = Annotated[
    ClippyConfig
    | GradientNormConfig
    | AdaptiveGradientConfig
    | TrustRatioConfig
    | AdaGCConfig
    | ZClipConfig
    | AdaGNConfig,
    Field(discriminator="kind"),
]
