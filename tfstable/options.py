"""The options of the ranking model, each with type, default, meaning and rule. Imports no TensorFlow."""

import difflib
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tfstable.specs import Positive, Spec

Widths = tuple[Annotated[int, Field(ge=1)], ...]


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
    input_normalisation: Literal["features", "layer", "none"] = Field(
        "features",
        description="features: divide each feature's embedding by its own size; numeric features are already "
        "standardised. layer: layer normalisation over the whole input of the bottom, after any cross layers (Tang et "
        "al., 2023); it hides the size of numbers if there are few. none: neither.",
    )
    units: Widths = Field((256, 256), description="Widths of the shared bottom's layers.")
    activation: Literal["relu", "smelu", "swish", "gelu", "softplus", "tanh"] = Field(
        "relu", description="Activation of the dense layers."
    )
    beta: Positive = Field(1.0, description="Half-width of SmeLU's parabola, in the units of its input.")
    slope_below: float = Field(
        0.0,
        allow_inf_nan=False,
        description="Slope of SmeLU below its parabola. A value other than 0 selects the generalised SmeLU.",
    )
    activation_clip: Positive | None = Field(
        None, description="Clip activations of the dense layers to this absolute value. Default: no clipping."
    )
    hidden_normalisation: bool = Field(False, description="Apply layer normalisation before each activation.")
    rezero: bool = Field(
        False, description="Add ReZero residuals around the bottom's layers that keep the width of their input."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout rate after each activation.")
    tower_units: Widths = Field((), description="Widths of each task's own layers, above the shared bottom.")
    wide: bool = Field(
        False,
        description="Add a linear model of the categorical features to each binary task's logit (Cheng et al., 2016). "
        "A rare task then learns a few weights of its own, outside the bottom that frequent tasks dominate.",
    )

    @model_validator(mode="after")
    def _cross_keys_fit(self) -> "RankingOptions":
        if self.cross_experts > 1 and self.cross_rank is None:
            raise ValueError(f"cross_experts={self.cross_experts} needs a cross_rank: experts are of low rank")
        if self.cross_arrangement == "parallel" and not self.cross_depth:
            raise ValueError("cross_arrangement=parallel needs a cross_depth of at least 1")
        return self


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
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}, got {detail['input']!r}"
