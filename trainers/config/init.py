"""The config's section on a trained model to start from. Imports no TensorFlow."""

from pathlib import Path

from pydantic import Field

from tfstable.specs import Spec


class InitConfig(Spec):
    """A trained model that a new run starts from. A run that has a checkpoint no longer needs it."""

    source: Path = Field(
        alias="from",
        description="Directory of a run, of one of its checkpoints, of an exported version, or of a TFRS model "
        "with its tfrs.yaml.",
    )
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="Names in this config by name there, of features, tasks and sequences: {old: new}.",
    )
    slots: bool = Field(
        True,
        description="Take over the optimizer's state, its count of steps and the average of the weights, where there "
        "are any, too. An export has none.",
    )
