"""The config of `tfstable stability`: a run's config and a grid over it. Imports no TensorFlow."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from tfstable.specs import Positive, Spec
from trainers.config import ClippingConfig, Config, DivergenceConfig, ModelConfig, OptimizerConfig
from trainers.studies.grid_keys import OF_ANY_GRID, refuse

RATES, CLIPPINGS = "stability.rates has the rates", "stability.treatments has the clippings"
ONE_RATE = "a run of the grid has one learning rate, but for schedule.window_end"
NOT_HONOURED = OF_ANY_GRID | {
    "divergence": "stability.detector has the rules",
    **{
        f"optimizer.{group}.{key}": reason
        for group in ("dense", "embeddings")
        for key, reason in {
            "learning_rate": RATES,
            "clipping": CLIPPINGS,
            "schedule.warmup_steps": ONE_RATE,
            "schedule.decay": ONE_RATE,
        }.items()
    },
}


class Treatment(Spec):
    """One point of a treatment's own grid: its thresholds."""

    dense: ClippingConfig | None = Field(None, description="Clipping of every variable that is not an embedding table.")
    embeddings: ClippingConfig | None = Field(None, description="Clipping of the embedding tables.")
    model: dict[str, Any] = Field(
        default_factory=dict, description="Keys of the model section that belong to this treatment."
    )


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
    reported: tuple[Positive, ...] = Field(
        (1, 2), description="Multiples of 1x with a choice of thresholds and all seeds."
    )
    most: Positive = Field(
        16,
        description="Largest multiple of 1x. Multiples double from the largest reported one until a treatment breaks.",
    )
    seeds: int = Field(3, ge=1, description="Seeds per reported multiple. Thresholds are chosen with the first seed.")
    sharpness_steps: int = Field(
        12,
        ge=0,
        description="Measure the sharpness of two runs before each of this many steps around the onset; 0 = off.",
    )
    detector: DivergenceConfig = Field(default_factory=DivergenceConfig, description="When a run counts as diverged.")

    @model_validator(mode="after")
    def _rate_treatment_is_there(self) -> "GridConfig":
        if self.rate_treatment not in self.treatments:
            raise ValueError(
                f"rate_treatment: no treatment {self.rate_treatment}; the treatments are {', '.join(self.treatments)}"
            )
        return self


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
        """Returns the config of one run: one learning rate for the whole model, as in the paper.

        Args:
            model: Name of the model.
            treatment: What clips.
            rate: The learning rate.
            seed: Number of the seed, counted from `trainer.seed`.
        """
        optimizer = self.optimizer
        return self.model_copy(
            update={
                "model": self.model_config_of(model, treatment),
                "optimizer": OptimizerConfig(
                    dense=optimizer.dense.model_copy(update={"learning_rate": rate, "clipping": treatment.dense}),
                    embeddings=optimizer.embeddings.model_copy(
                        update={"learning_rate": rate, "clipping": treatment.embeddings}
                    ),
                    averaging=optimizer.averaging,
                    on_nonfinite=optimizer.on_nonfinite,
                ),
                "trainer": self.trainer.model_copy(update={"seed": self.trainer.seed + seed}),
            }
        )
