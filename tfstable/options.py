"""The options of the ranking model, each with type, default, meaning and rule. Imports no TensorFlow."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from tfstable.specs import (
    CHANGEABLE,
    ActivationName,
    Bottom,
    Categorical,
    Feature,
    NonNegative,
    Penalty,
    Positive,
    QuantileFeature,
    SharedBottom,
    Spec,
    Widths,
)


class SequenceOptions(Spec):
    """A history of several columns, newest last, and how the model reads it."""

    features: tuple[str, ...] = Field(
        min_length=1,
        description="Features of the history, each a column of lists; element i of all lists is one event. They do not "
        "also enter the model's input as pooled features.",
    )
    query: tuple[str, ...] = Field(
        (),
        description="Features of the candidate that the history is compared with, the first with the first of "
        "`features`, and so on; name their tables alike. Features without a counterpart stand beside each position.",
    )
    attention: Literal["target", "encoder", "decoder", "mean"] = Field(
        "target",
        description="target: a sum of the positions, each times a score of it and the candidate (Zhou et al., 2018). "
        "encoder: ReZero encoder layers over the positions, with the candidate beside each (Xia et al., 2023). "
        "decoder: the candidate attends to the positions through ReZero layers. mean: the mean of the positions.",
    )
    units: Widths = Field(
        (64,),
        min_length=1,
        description="Widths of the hidden layers: of target's scores, or, one width, of the feed-forward parts of "
        "encoder and decoder.",
    )
    softmax: bool = Field(False, description="Turn target's scores into weights that sum to 1.")
    depth: int = Field(1, ge=1, description="Layers of encoder or decoder.")
    heads: int = Field(1, ge=1, description="Attention heads of encoder or decoder.")

    @model_validator(mode="after")
    def _keys_fit_the_attention(self) -> "SequenceOptions":
        kind, layered = self.attention, self.attention in ("encoder", "decoder")
        if (kind == "mean") == bool(self.query):
            raise ValueError(
                "attention: mean takes no query; drop one of the two"
                if self.query
                else f"attention: {kind} needs a query; name the candidate's features"
            )
        if self.softmax and kind != "target":
            raise ValueError(f"softmax is for attention: target, not for {kind}; drop it")
        if (self.depth, self.heads) != (1, 1) and not layered:
            raise ValueError(f"depth and heads are for attention: encoder or decoder, not for {kind}; drop them")
        if (layered and len(self.units) > 1) or (kind == "mean" and self.units != (64,)):
            raise ValueError(f"units: attention: {kind} takes {'one width' if layered else 'none'}, got {self.units}")
        return self


class RankingOptions(Spec):
    """The arguments of a `RankingModel` in addition to features, tasks and statistics.

    The constructor takes these as keyword arguments, and the `model` section of a config as keys.
    """

    cross_depth: int = Field(0, ge=0, description="Number of DCN-v2 cross layers on the input; 0 = none.")
    cross_rank: int | None = Field(
        None, ge=1, description="Rank of the cross layers' matrices. Default: full matrices."
    )
    cross_experts: int = Field(
        1, ge=1, description="Low-rank experts per cross layer, mixed by gates. More than 1 needs cross_rank."
    )
    cross_arrangement: Literal["stacked", "parallel"] = Field(
        "stacked",
        description="stacked: the bottom reads the output of the cross layers. parallel: the bottom reads the input, "
        "and the heads read the outputs of both; needs cross_depth of at least 1.",
    )
    stack_tables: bool = Field(
        True,
        description="true: embedding tables of one width lie in one variable, read and updated at once. false: each "
        "is a variable of its own, slower with many tables; a clipping factor per tensor is then one per table, as in "
        "TFRS.",
    )
    input_normalisation: Literal["features", "layer", "none"] = Field(
        "features",
        description="features: divide each feature's embedding by its own size; numeric features are already "
        "standardised. layer: layer normalisation over the whole input of the bottom, after any cross layers (Tang et "
        "al., 2023); it hides the size of numbers if there are few. none: neither.",
    )
    units: Widths = Field((256, 256), description="Widths of the shared bottom's layers.")
    bottom: Bottom = Field(
        default_factory=SharedBottom,
        description="What stands on those layers, under the towers: nothing more (shared), or experts and gates.",
    )
    activation: ActivationName = Field("relu", description="Activation of the dense layers.")
    beta: Positive = Field(1.0, description="Half-width of SmeLU's parabola, in the units of its input.")
    slope_below: float = Field(
        0.0,
        allow_inf_nan=False,
        description="Slope of SmeLU below its parabola. A value other than 0 selects the generalised SmeLU.",
    )
    activation_clip: Positive | None = Field(
        None, description="Clip activations of the dense layers to this absolute value. Default: no clipping."
    )
    kernel_initializer: Literal["he", "fan_in", "orthogonal", "glorot"] = Field(
        "he",
        description="Initial kernels of the dense layers in bottom, experts and towers. he: variance 2 / inputs, right "
        "for ReLU (He et al., 2015). fan_in: variance gain^2 / inputs, with the gain of the activation. orthogonal: "
        "the same variance, orthogonal columns or rows. glorot: variance 2 / (inputs + outputs). With fan_in and "
        "orthogonal the bottom's first layer and the output layers have gain 1.",
    )
    hidden_normalisation: bool = Field(False, description="Apply layer normalisation before each activation.")
    normalisation_epsilon: Positive = Field(
        1e-3,
        description="Added to the variance in hidden_normalisation. Where it is not small beside the variance of a "
        "layer's output, the loss depends on the size of the layer's weights.",
    )
    rezero: bool = Field(
        False, description="Add ReZero residuals around the bottom's layers that keep the width of their input."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate after each activation.")
    task_gradient_limit: Positive | None = Field(
        None,
        description="Limit on each task's gradient where it enters the shared layers: the root mean square, over a "
        "batch, of one row's gradient by the head's input. A larger one is scaled down to it, so that a task that "
        "breaks does not break the others. 1 suits losses and weights of about 1. Default: no limit.",
        json_schema_extra=CHANGEABLE,
    )
    penalty: Penalty | None = Field(
        None,
        description="What training adds to the loss so that the model generalises better. noise, gradient, fgm and vat "
        "act on the rows' input vectors: the output of embed, and what is read of histories. flooding and "
        "weight_gradient act on the loss of a whole batch. Predictions and reported losses are without it. Default: "
        "nothing.",
    )
    tower_units: Widths = Field((), description="Widths of each task's own layers, above the shared bottom.")
    wide: bool = Field(
        False,
        description="Add a linear model of the categorical features to each binary task's logit (Cheng et al., 2016). "
        "A rare task then learns a few weights of its own, outside the bottom that frequent tasks dominate.",
    )
    logit_penalty: NonNegative = Field(
        0.0,
        description="Weight of a penalty in training: the mean of the squared logits, summed over the binary tasks. It "
        "keeps predictions away from 0 and 1; 1e-4 to 1e-2. Reported losses are without it.",
        json_schema_extra=CHANGEABLE,
    )
    loss_weights: Literal["fixed", "uncertainty", "famo"] = Field(
        "fixed",
        description="Factors of the tasks' losses, besides tasks.NAME.weight. fixed: none. uncertainty: learned, a "
        "noise per task (Kendall et al., 2018). famo: such that all losses fall at one rate (after Liu et al., 2023).",
    )
    sequences: dict[str, SequenceOptions] = Field(
        default_factory=dict, description="Histories by name. What is read of each joins the model's input."
    )

    @model_validator(mode="after")
    def _cross_keys_fit(self) -> "RankingOptions":
        if self.cross_experts > 1 and self.cross_rank is None:
            raise ValueError(f"cross_experts={self.cross_experts} needs a cross_rank: experts are of low rank")
        if self.cross_arrangement == "parallel" and not self.cross_depth:
            raise ValueError("cross_arrangement=parallel needs a cross_depth of at least 1")
        return self

    @model_validator(mode="after")
    def _penalty_fits(self) -> "RankingOptions":
        kind = None if self.penalty is None else self.penalty.kind
        if kind in ("gradient", "vat", "weight_gradient") and self.task_gradient_limit is not None:
            raise ValueError(
                f"penalty {kind} differentiates the gradients that task_gradient_limit scales; drop one of the two"
            )
        if kind in ("flooding", "weight_gradient") and self.loss_weights != "fixed":
            raise ValueError(
                f"penalty {kind} is of one loss, which loss_weights={self.loss_weights} changes from step to step; set "
                "loss_weights to fixed, or drop the penalty"
            )
        return self


def check_sequences(sequences: Mapping[str, SequenceOptions], features: Mapping[str, Feature]) -> None:
    """Checks the names and sizes of the features that histories are made of.

    Raises:
        ValueError: If a feature is missing or not embedded, lists of one history differ in `max_values` or `keep`, a
            query is part of a history, has another width than its counterpart, or heads do not divide a width.
    """
    inside = {feature for sequence in sequences.values() for feature in sequence.features}
    for name, sequence in sequences.items():
        key = f"sequences.{name}"
        for kind, names in (("features", sequence.features), ("query", sequence.query)):
            for feature in names:
                if feature not in features:
                    raise ValueError(f"{key}.{kind}: there is no feature {feature}; define it under features")
                if not isinstance(features[feature], Categorical | QuantileFeature):
                    raise ValueError(
                        f"{key}.{kind}: {feature} is {features[feature].kind}, which has no embedding; take a "
                        "categorical or quantile feature"
                    )
            if len(set(names)) < len(names):
                raise ValueError(f"{key}.{kind} names a feature twice; drop one")
        lists, query = ([embedded(features[f]) for f in names] for names in (sequence.features, sequence.query))
        for feature, spec in zip(sequence.features, lists, strict=True):
            if (spec.max_values, spec.keep) != (lists[0].max_values, lists[0].keep):
                raise ValueError(
                    f"{key}.features: {feature} keeps the {spec.keep} {spec.max_values} values, but "
                    f"{sequence.features[0]} the {lists[0].keep} {lists[0].max_values}; make max_values and keep equal"
                )
        if both := [feature for feature in sequence.query if feature in inside]:
            raise ValueError(f"{key}.query: {both[0]} is itself part of a history; name a feature of the candidate")
        if sequence.attention == "target":
            if len(query) > len(lists):
                raise ValueError(f"{key}.query: {sequence.query[len(lists)]} has no counterpart in features; drop it")
            for of_query, of_history, a, b in zip(sequence.query, sequence.features, query, lists, strict=False):
                if a.dim != b.dim:
                    raise ValueError(
                        f"{key}.query: {of_query} has dim {a.dim}, but its counterpart {of_history} {b.dim}; make them "
                        "equal, or name features in another order"
                    )
        width = sum(spec.dim for spec in lists) + (sum(q.dim for q in query) if sequence.attention == "encoder" else 0)
        if width % sequence.heads:
            raise ValueError(f"{key}.heads: {sequence.heads} heads do not divide the width {width}")
    if sequences and not features.keys() - inside:
        raise ValueError("sequences: every feature is part of a history; add one that is not")


def check_lists(sequences: Mapping[str, SequenceOptions], several: Callable[[str], bool]) -> None:
    """Checks that histories read lists, and queries single values.

    Args:
        sequences: The histories by name.
        several: Whether a feature, given by name, is several-valued.

    Raises:
        ValueError: If one does not.
    """
    for name, sequence in sequences.items():
        for kind, names, wanted in (("features", sequence.features, True), ("query", sequence.query, False)):
            for feature in names:
                if several(feature) is not wanted:
                    forms = ("lists", "single values") if several(feature) else ("single values", "lists")
                    raise ValueError(
                        f"sequences.{name}.{kind}: {feature} reads {forms[0]}, but must read {forms[1]}; name another"
                    )


def embedded(feature: Feature) -> Categorical | QuantileFeature:
    """Narrows the type of a feature that is known to have an embedding."""
    assert isinstance(feature, Categorical | QuantileFeature)
    return feature


def ranking_options(model: str, arguments: dict[str, Any]) -> RankingOptions:
    """Returns a model's options from the arguments of its constructor.

    Args:
        model: Name of the model's class; begins the message of an error.
        arguments: The options by name.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If a value is outside its domain.
    """
    known = RankingOptions.model_fields.keys()
    for name in arguments.keys() - known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the options are {', '.join(known)}"
        raise TypeError(f"{model}: unknown argument {name}; {hint}")
    try:
        return RankingOptions(**arguments)
    except ValidationError as error:
        raise ValueError("\n".join(f"{model}: {_line(detail)}" for detail in error.errors())) from None


def _line(detail: Any) -> str:
    if detail["type"] == "value_error":  # It says all that is wrong.
        return ": ".join(
            [*filter(None, [".".join(map(str, detail["loc"]))]), detail["msg"].removeprefix("Value error, ")]
        )
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}, got {detail['input']!r}"
