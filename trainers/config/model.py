"""The config's model section. Imports no TensorFlow."""

from typing import Any

from pydantic import Field, model_validator

from tfstable.options import RankingOptions
from tfstable.specs import Spec


class ModelClass(Spec):
    """The class of the model. A separate base class puts its keys before the options in params.yaml."""

    model_class: str = Field(
        "tfstable.models.RankingModel", alias="class", description="Import path of a RankingModel subclass."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Arguments that the subclass adds.")


class ModelConfig(RankingOptions, ModelClass):
    """The class of the model, and its options."""

    @model_validator(mode="after")
    def _options_are_new(self) -> "ModelConfig":
        if common := [name for name in self.options if name in RankingOptions.model_fields]:
            raise ValueError(f"options.{common[0]} is an option of every model; set model.{common[0]} instead")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the model's constructor."""
        return {**self.model_dump(exclude={"model_class", "options"}), **self.options}
