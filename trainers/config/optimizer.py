"""The config's optimizer section: eq. (5) of Tang et al., 2023, as keys. Imports no TensorFlow."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tfstable.specs import NonNegative, Positive, Spec

Fraction = Annotated[float, Field(ge=0, lt=1)]


class ScheduleConfig(Spec):
    """The learning rate over the steps: a linear warm-up, then a decay; and a decay inside each window."""

    warmup_steps: int = Field(0, ge=0, description="Steps over which the rate rises linearly to learning_rate.")
    decay: Literal["none", "cosine", "inverse_sqrt"] = Field(
        "none", description="cosine falls to 0 over decay_steps; inverse_sqrt is halved after 3 decay_steps."
    )
    decay_steps: int | None = Field(None, ge=1, description="Steps of the decay, counted from the warm-up's end.")
    window_end: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Share of the rate that is left at the end of each window, to which it falls along half a cosine "
        "from the whole rate at the window's first step; null for a rate that does not.",
    )

    @model_validator(mode="after")
    def _decay_has_steps(self):
        if (self.decay == "none") != (self.decay_steps is None):
            raise ValueError("decay and decay_steps go together: give both or none")
        return self


class ClippyConfig(Spec):
    """Clippy: no weight moves by more than relative * |w| + absolute in a step."""

    kind: Literal["clippy"]
    relative: NonNegative = 0.5
    absolute: Positive = 1e-2
    scope: Literal["tensor", "row", "element"] = Field("tensor", description="What shares one clipping factor.")


class GradientNormConfig(Spec):
    """GC: the factor min(1, threshold / ||g||), per tensor."""

    kind: Literal["gradient_norm"]
    threshold: Positive = 0.1
    scope: Literal["tensor", "row"] = "tensor"


class AdaptiveGradientConfig(Spec):
    """AGC: the factor min(1, threshold * max(||w||, floor) / ||g||), per output unit."""

    kind: Literal["adaptive_gradient"]
    threshold: Positive = 1e-2
    floor: Positive = 1e-3
    scope: Literal["tensor", "row"] = "tensor"


class TrustRatioConfig(Spec):
    """LAMB's factor mu * ||w|| / ||r||, per tensor."""

    kind: Literal["trust_ratio"]
    mu: Positive = 1e-2
    scope: Literal["tensor", "row"] = "tensor"


ClippingConfig = Annotated[
    ClippyConfig | GradientNormConfig | AdaptiveGradientConfig | TrustRatioConfig, Field(discriminator="kind")
]


class RuleConfig(Spec):
    """How one group of variables is updated: w -= learning_rate * clipping * direction."""

    rule: Literal["adagrad", "adam", "sgd", "adax"] = Field("adagrad", description="The direction.")
    learning_rate: Positive = 0.05
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    clipping: ClippingConfig | None = Field(None, description="What shrinks a step; null for nothing.")
    weight_decay: NonNegative | None = Field(None, description="Decoupled decay; not for embedding tables.")
    initial_accumulator: NonNegative | None = Field(None, description="Adagrad's G_0; default 0.1.")
    momentum: Fraction | None = Field(None, description="Of SGD; default 0.")
    beta_1: Fraction | None = Field(None, description="Of Adam and AdaX; default 0.9.")
    beta_2: Positive | None = Field(None, description="Of Adam (default 0.999) and AdaX (default 1e-4).")

    @model_validator(mode="after")
    def _keys_of_the_rule(self):
        own = {"adagrad": ["initial_accumulator"], "sgd": ["momentum"]}.get(self.rule, ["beta_1", "beta_2"])
        for key in ("initial_accumulator", "momentum", "beta_1", "beta_2"):
            if getattr(self, key) is not None and key not in own:
                raise ValueError(f"{key} is no key of rule {self.rule}; it has {', '.join(own)}")
        return self


class DenseConfig(RuleConfig):
    """A rule with Clippy unless the config says otherwise."""

    clipping: ClippingConfig | None = Field(
        default_factory=lambda: ClippyConfig(kind="clippy"), description="What shrinks a step; null for nothing."
    )


class EmaConfig(Spec):
    """An exponential average of the weights over steps; its start is the plain mean, until the horizon is reached."""

    kind: Literal["ema"]
    horizon_steps: int | None = Field(None, ge=2, description="Steps over which it averages, about.")
    horizon_examples: int | None = Field(None, ge=1, description="The same in examples; at least two steps.")

    @model_validator(mode="after")
    def _one_horizon(self):
        if (self.horizon_steps is None) == (self.horizon_examples is None):
            raise ValueError("give one of horizon_steps and horizon_examples")
        return self


class SwaConfig(Spec):
    """The mean of the weights at the ends of windows."""

    kind: Literal["swa"]
    horizon_windows: int | None = Field(None, ge=1, description="Windows over which it averages, about; null for all.")


AveragingConfig = Annotated[EmaConfig | SwaConfig, Field(discriminator="kind")]


class OptimizerConfig(Spec):
    dense: DenseConfig = Field(
        default_factory=DenseConfig, description="For every variable that is not an embedding table."
    )
    embeddings: RuleConfig = Field(default_factory=RuleConfig, description="For the embedding tables.")
    groups: dict[str, RuleConfig] | None = Field(
        None,
        description="Instead of dense and embeddings: a rule for each group of variables, named embeddings, dense, or "
        "a regular expression on the variable's path. Every variable belongs to exactly one.",
    )
    averaging: AveragingConfig | None = Field(
        None, description="An average of the weights, which evaluations and exports then use; null for none."
    )
    on_nonfinite: Literal["skip", "raise"] = Field(
        "skip", description="What a gradient that is not finite does to its step, on all replicas."
    )

    @model_validator(mode="after")
    def _groups_stand_alone(self):
        if self.groups is not None and {"dense", "embeddings"} & self.model_fields_set:
            raise ValueError("groups stands instead of dense and embeddings; name them inside groups")
        for pattern in self.groups or ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"groups: {pattern!r} is not a regular expression ({error})") from None
        tables = self.groups["embeddings"] if self.groups and "embeddings" in self.groups else self.embeddings
        if tables.weight_decay:
            raise ValueError("embeddings.weight_decay would touch every row of a table in every step; leave it out")
        return self
