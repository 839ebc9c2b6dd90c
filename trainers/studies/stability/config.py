"""The config of `tfstable stability`: a run's config and a grid over it. Imports no TensorFlow."""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from tfstable.specs import Positive, Spec
from trainers.config import ClippingConfig, Config, DenseConfig, DivergenceConfig, ModelConfig, OptimizerConfig
from trainers.studies.grid_keys import OF_ANY_GRID, refuse

RATES, CLIPPINGS = "stability.rates has the rates", "stability.treatments has the clippings"
NOT_HONOURED = OF_ANY_GRID | {
    "divergence": "stability.detector has the rules",
    "optimizer.dense.learning_rate": RATES,
    "optimizer.embeddings.learning_rate": "stability.embeddings_rate has it, or stability.rates",
    "optimizer.dense.clipping": CLIPPINGS,
    "optimizer.embeddings.clipping": CLIPPINGS,
}


class Treatment(Spec):
    """One point of a treatment's own grid: its thresholds."""

    dense: ClippingConfig | None = Field(None, description="Clipping of every variable that is not an embedding table.")
    embeddings: ClippingConfig | None = Field(None, description="Clipping of the embedding tables.")
    mu: Positive = Field(
        1.0, description="Factor of the learning rate of every variable that is not an embedding table: mu of eq. (5)."
    )
    model: dict[str, Any] = Field(
        default_factory=dict, description="Keys of the model section that belong to this treatment."
    )
    rule: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys of optimizer.dense that belong to this treatment, such as `rule` or `schedule`.",
    )

    @field_validator("rule")
    @classmethod
    def _has_no_rate(cls, rule: dict[str, Any]) -> dict[str, Any]:
        for key, reason in (("learning_rate", RATES), ("clipping", "the treatment's key dense has it")):
            if key in rule:
                raise ValueError(f"{key} does not belong here, {reason}")
        return rule


class PoisonConfig(Spec):
    """One bad batch: its binary labels are inverted, and each of its examples weighs `weight` times as much."""

    step: int = Field(ge=1, description="The step that trains on the bad batch, from the run's first step, 0.")
    weight: Positive = Field(1000.0, description="Factor of the weights of the batch's examples.")


class GridConfig(Spec):
    """The grid: treatments with their thresholds x models x learning-rate multiples x seeds."""

    models: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="By name, the keys of the model section that differ. The first model finds the learning rate.",
    )
    treatments: dict[str, Annotated[tuple[Treatment, ...], Field(min_length=1)]] = Field(
        min_length=1, description="By name, the thresholds to choose from."
    )
    rates: tuple[Positive, ...] = Field(min_length=1, description="Learning rates to choose the rate 1x from.")
    rate_treatment: str = Field("gc", description="The first model's best rate under this treatment is 1x.")
    embeddings_rate: Positive | None = Field(
        None, description="Learning rate of the embedding tables in every run. Default: that of the run."
    )
    reported: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        (1, 2), description="Multiples of 1x at which every threshold is trained with all seeds, ascending."
    )
    most: Positive = Field(
        16,
        description="Largest multiple of 1x. The last multiple that a run survives is sought by bisection among the "
        "doublings of the largest reported one.",
    )
    breaks: Literal["all", "best", "none"] = Field(
        "all", description="Thresholds whose last survived multiple is sought: all, or each treatment's best."
    )
    seeds: int = Field(5, ge=1, description="Seeds of every cell.")
    choosing_days: int = Field(
        3, ge=1, description="Evaluation days before the last one on which rates and thresholds are chosen."
    )
    poison: PoisonConfig | None = Field(
        None, description="Train every cell at 1x once more with one bad batch. Default: no bad batch."
    )
    cost: bool = Field(True, description="Measure the cost of a step under each treatment.")
    pictured: tuple[str, ...] | None = Field(None, description="Treatments in figures 4 to 6. Default: all.")
    sharpness_steps: int = Field(
        12,
        ge=0,
        description="Measure the sharpness of two runs before each of this many steps around the onset; 0 = off.",
    )
    sharpness_every: int = Field(
        0, ge=0, description="Measure it before every N-th step of these runs as well; 0 = not."
    )
    detector: DivergenceConfig = Field(default_factory=DivergenceConfig, description="When a run counts as diverged.")

    @field_validator("reported")
    @classmethod
    def _ascends(cls, reported: tuple[float, ...]) -> tuple[float, ...]:
        if list(reported) != sorted(set(reported)):
            raise ValueError(f"must ascend, got {', '.join(f'{m:g}' for m in reported)}")
        return reported

    @model_validator(mode="after")
    def _treatments_are_there(self) -> "GridConfig":
        for key, names in (("rate_treatment", [self.rate_treatment]), ("pictured", self.pictured or ())):
            for name in names:
                if name not in self.treatments:
                    known = ", ".join(self.treatments)
                    raise ValueError(f"{key}: no treatment {name}; the treatments are {known}")
        return self

    @property
    def multiples(self) -> tuple[float, ...]:
        """The reported multiples, and their doublings up to `most`."""
        doublings = (self.reported[-1] * 2.0**k for k in range(1, 64))
        return (*self.reported, *itertools.takewhile(lambda multiple: multiple <= self.most, doublings))


class StabilityConfig(Config):
    """A run's config, and the grid. `model` and `optimizer` hold what all runs share, rates and clippings aside."""

    stability: GridConfig

    @model_validator(mode="after")
    def _keys_are_honoured(self) -> "StabilityConfig":
        refuse(self, "stability", NOT_HONOURED)
        return self

    @model_validator(mode="after")
    def _models_fit(self) -> "StabilityConfig":
        for name, treatments in self.stability.treatments.items():
            for model in self.stability.models:
                for treatment in treatments:
                    try:
                        self.model_config_of(model, treatment)
                        self.run_config(model, treatment, 1.0, 0)
                    except ValidationError as error:
                        detail = error.errors()[0]
                        where = ".".join(map(str, detail["loc"]))
                        raise ValueError(f"stability: model {model} under {name}: {where}: {detail['msg']}") from None
        if self.optimizer.groups is not None:
            raise ValueError("stability: a grid knows optimizer.dense and optimizer.embeddings, no optimizer.groups")
        return self

    def model_config_of(self, model: str, treatment: Treatment) -> ModelConfig:
        """Returns the model section of a run of the grid."""
        common = self.model.model_dump(by_alias=True)
        return ModelConfig.model_validate({**common, **self.stability.models[model], **treatment.model})

    def run_config(self, model: str, treatment: Treatment, rate: float, seed: int) -> Config:
        """Returns the config of one run: one learning rate for the whole model, as in the paper, but for
        `embeddings_rate`.

        Args:
            model: Name of the model.
            treatment: What clips.
            rate: The learning rate.
            seed: Number of the seed, counted from `trainer.seed`.
        """
        optimizer, of_tables = self.optimizer, self.stability.embeddings_rate
        own = optimizer.dense.model_dump(exclude={"clipping"}, exclude_unset=True)
        rule = {**own, **treatment.rule, "learning_rate": rate * treatment.mu, "clipping": treatment.dense}
        tables = {"learning_rate": of_tables or rate, "clipping": treatment.embeddings}
        return self.model_copy(
            update={
                "model": self.model_config_of(model, treatment),
                "optimizer": OptimizerConfig(
                    dense=DenseConfig.model_validate(rule),
                    embeddings=optimizer.embeddings.model_copy(update=tables),
                    averaging=optimizer.averaging,
                    on_nonfinite=optimizer.on_nonfinite,
                ),
                "trainer": self.trainer.model_copy(update={"seed": self.trainer.seed + seed}),
            }
        )
