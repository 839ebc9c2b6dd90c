"""The config's optimizer section: eq. (5) of Tang et al., 2023, as keys. Imports no TensorFlow."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from tfstable.specs import CHANGEABLE, NonNegative, Positive, Spec
from trainers.config.clipping import CLIPPY_OF_ADAGRAD, ClippingConfig, ClippyConfig, Fraction

# The keys of each rule alone.
KEYS = {
    "adagrad": ["initial_accumulator", "forget"],
    "adam": ["beta_1", "beta_2"],
    "adax": ["beta_1", "beta_2"],
    "muon": ["momentum", "beta_1", "beta_2"],
    "sgd": ["momentum"],
}
FOR_DENSE = ("muon",)  # Rules that embedding tables cannot have.


class ScheduleConfig(Spec):
    """The learning rate over the steps: a linear warm-up, then a decay over the run, and a decay inside each window."""

    warmup_steps: int = Field(
        0, ge=0, description="Raise the rate linearly to learning_rate over this many steps; 0 = no warm-up."
    )
    decay: Literal["none", "cosine", "inverse_sqrt"] = Field(
        "none",
        description="none: constant rate. cosine: fall to 0 over decay_steps. inverse_sqrt: halve after 3 decay_steps.",
    )
    decay_steps: int | None = Field(
        None, ge=1, description="Length of the decay in steps, counted from the end of the warm-up."
    )
    window_end: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Lower the rate along half a cosine inside each window; at the window's end this share of it is "
        "left. Default: no decay inside windows.",
    )

    @model_validator(mode="after")
    def _decay_has_steps(self) -> "ScheduleConfig":
        if (self.decay == "none") != (self.decay_steps is None):
            raise ValueError("decay and decay_steps need each other: give both or neither")
        return self


class RuleConfig(Spec):
    """The update of one group of variables: w -= learning_rate * clipping * direction."""

    rule: Literal["adagrad", "adam", "sgd", "adax", "muon"] = Field(
        "adagrad",
        description="Rule that gives the direction of a step. muon is for dense variables alone: matrices get steps "
        "of about equal length in all directions, the others Adam's.",
    )
    learning_rate: Positive = Field(
        0.05, description="Highest learning rate of the schedule.", json_schema_extra=CHANGEABLE
    )
    schedule: ScheduleConfig = Field(
        default_factory=ScheduleConfig,
        description="The learning rate over the steps.",
        json_schema_extra=CHANGEABLE,
    )
    clipping: ClippingConfig | None = Field(
        None, description="How steps are shrunk; null = not at all.", json_schema_extra=CHANGEABLE
    )
    weight_decay: NonNegative | None = Field(
        None,
        description="Decoupled weight decay, not for embedding tables. Default: no decay.",
        json_schema_extra=CHANGEABLE,
    )
    initial_accumulator: NonNegative | None = Field(
        None,
        description="Adagrad: initial sum of squares. Default: 1 / trainer.batch_size^2 in a group of embedding tables "
        "alone, 0.1 elsewhere. A run that has begun keeps its sums; rows that start anew get the new value.",
        json_schema_extra=CHANGEABLE,
    )
    momentum: Fraction | None = Field(
        None,
        description="SGD and Muon: momentum. Default: that of tfstable.optimizers.",
        json_schema_extra=CHANGEABLE,
    )
    forget: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Adagrad: share of the sum of squares that is kept at each window's end, where it does not fall "
        "below its initial value. Default: 1, all of it.",
        json_schema_extra=CHANGEABLE,
    )
    beta_1: Fraction | None = Field(
        None, description="Adam, AdaX and Muon: beta_1, of the mean of gradients. Default: that of tfstable.optimizers."
    )
    beta_2: Positive | None = Field(
        None, description="Adam, AdaX and Muon: beta_2, of the mean of squares. Default: that of tfstable.optimizers."
    )

    def tables_accumulator(self, batch_size: int) -> float:
        """Returns where Adagrad's sums of squares start in embedding tables.

        Gradients are means over a batch. The default is thus the square of one example's gradient of size 1.
        """
        return 1 / batch_size**2 if self.initial_accumulator is None else self.initial_accumulator

    @field_validator("forget", mode="before")
    @classmethod
    def _something_is_kept(cls, forget: Any) -> Any:
        if forget == 0:  # A reader may take it for "forget nothing".
            raise ValueError("the share that is kept, 1 for all, must be above 0, got 0")
        return forget

    @model_validator(mode="after")
    def _keys_of_the_rule(self) -> "RuleConfig":
        own = KEYS[self.rule]
        for key in dict.fromkeys(key for keys in KEYS.values() for key in keys):
            if getattr(self, key) is not None and key not in own:
                raise ValueError(f"rule {self.rule} has no key {key}; its keys are {', '.join(own)}")
        if isinstance(self.clipping, ClippyConfig) and self.clipping.of_adagrad and self.rule != "adagrad":
            raise ValueError(f"clipping: {', '.join(CLIPPY_OF_ADAGRAD)} are for rule: adagrad, not for {self.rule}")
        return self


class DenseConfig(RuleConfig):
    """A rule with Clippy unless the config says otherwise."""

    clipping: ClippingConfig | None = Field(
        default_factory=lambda: ClippyConfig(kind="clippy"),
        description="How steps are shrunk; null = not at all.",
        json_schema_extra=CHANGEABLE,
    )


class EmaConfig(Spec):
    """Exponential average of the weights over steps. Until the horizon is reached it is the plain mean."""

    kind: Literal["ema"]
    horizon_steps: int | None = Field(
        None, ge=2, description="Average over about this many steps.", json_schema_extra=CHANGEABLE
    )
    horizon_examples: int | None = Field(
        None,
        ge=1,
        description="Average over about this many examples, but at least two steps.",
        json_schema_extra=CHANGEABLE,
    )

    def horizon(self, batch_size: int) -> int:
        """Returns the horizon in steps."""
        if self.horizon_examples is None:
            assert self.horizon_steps is not None  # One of the two is set.
            return self.horizon_steps
        return max(2, round(self.horizon_examples / batch_size))  # Over less than two steps nothing is averaged.

    @model_validator(mode="after")
    def _one_horizon(self) -> "EmaConfig":
        if (self.horizon_steps is None) == (self.horizon_examples is None):
            raise ValueError("give one of horizon_steps and horizon_examples")
        return self


class SwaConfig(Spec):
    """The mean of the weights at the ends of windows."""

    kind: Literal["swa"]
    horizon_windows: int | None = Field(
        None,
        ge=1,
        description="Average over about this many windows. Default: all windows.",
        json_schema_extra=CHANGEABLE,
    )


AveragingConfig = Annotated[EmaConfig | SwaConfig, Field(discriminator="kind")]


class OptimizerConfig(Spec):
    """How weights are updated: a rule for embedding tables, one for all other variables."""

    dense: DenseConfig = Field(
        default_factory=DenseConfig, description="Rule for every variable that is not an embedding table."
    )
    embeddings: RuleConfig = Field(default_factory=RuleConfig, description="Rule for the embedding tables.")
    groups: dict[str, RuleConfig] | None = Field(
        None,
        description="Rules by group of variables, instead of dense and embeddings. A key is embeddings, dense, or "
        "a regular expression to search in a variable's path. Each variable must be in exactly one group.",
    )
    averaging: AveragingConfig | None = Field(
        None, description="Average the weights, and use the average in evaluations and exports. Default: no average."
    )
    on_nonfinite: Literal["skip", "raise"] = Field(
        "skip",
        description="skip: leave out a step with a non-finite gradient, on all replicas. raise: stop the run as well.",
        json_schema_extra=CHANGEABLE,
    )

    @model_serializer(mode="wrap")
    def _without_what_groups_replace(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        keys = written(self)
        return {key: keys[key] for key in keys if self.groups is None or key not in ("dense", "embeddings")}

    @model_validator(mode="after")
    def _groups_stand_alone(self) -> "OptimizerConfig":
        if self.groups is not None and {"dense", "embeddings"} & self.model_fields_set:
            raise ValueError("groups replaces dense and embeddings; name them inside groups")
        for pattern in self.groups or ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"groups: {pattern!r} is not a regular expression ({error})") from None
        tables = self.groups["embeddings"] if self.groups and "embeddings" in self.groups else self.embeddings
        if tables.rule in FOR_DENSE:
            raise ValueError(f"embeddings.rule: {tables.rule} is for dense variables; take adagrad, adam, sgd or adax")
        if tables.weight_decay:
            raise ValueError("embeddings.weight_decay would update every row of a table in every step; leave it out")
        return self
