"""What stands between a model's input and the towers of its tasks: one network for all, or experts and gates."""

from typing import Annotated, Literal

from pydantic import Field

from tfstable.specs.base import Spec, Widths

ActivationName = Literal["relu", "smelu", "swish", "gelu", "softplus", "tanh"]


class SharedBottom(Spec):
    """One network, of the layers `units`, whose output all tasks read."""

    kind: Literal["shared"] = "shared"


class _Experts(Spec):
    """The keys of both kinds of experts."""

    units: Widths = Field(
        (128,),
        min_length=1,
        description="Widths of an expert's layers. Experts stand on the layers of model.units, which may be [].",
    )
    activation: ActivationName = Field(
        "swish",
        description="Activation of the experts' layers; beta, slope_below and activation_clip are the model's. A "
        "smooth one: under ReLU most outputs of an expert can be 0, and gates leave it (Wang et al., 2024).",
    )
    normalise: bool = Field(
        True,
        description="Apply layer normalisation before each activation of an expert, so that the outputs of all "
        "experts have one scale (Wang et al., 2024). There it stands for hidden_normalisation.",
    )


class MmoeBottom(_Experts):
    """Experts that all tasks share, and a gate per task that weighs them (Ma et al., 2018)."""

    kind: Literal["mmoe"]
    experts: int = Field(4, ge=2, description="Number of experts.")


class PleBottom(_Experts):
    """Experts that all tasks share, experts of each task alone, and a gate per task over both (Tang et al., 2020)."""

    kind: Literal["ple"]
    experts: int = Field(2, ge=1, description="Number of experts that all tasks share, per level.")
    task_experts: int = Field(1, ge=1, description="Number of each task's own experts, per level.")
    levels: int = Field(
        1,
        ge=1,
        description="Extraction levels. Between two levels a gate over all experts mixes what the next shared experts "
        "read, and each task's gate what its own next experts read.",
    )


Bottom = Annotated[SharedBottom | MmoeBottom | PleBottom, Field(discriminator="kind", title="Bottom")]
