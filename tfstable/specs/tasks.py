"""Tasks: the columns of a log as labels of a model."""

from typing import Annotated, Literal

from pydantic import Field

from tfstable.specs.base import CHANGEABLE, Spec


class Task(Spec):
    """Common keys of the task kinds. A null label masks the task for that example."""

    label: str | None = Field(None, description="Label column. Default: the name of the task.")
    weight: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the task's loss in the total loss.",
        json_schema_extra=CHANGEABLE,
    )


class BinaryTask(Task):
    """A label of 0 or 1 (or boolean); the model predicts its probability, trained by cross-entropy on the logit."""

    kind: Literal["binary"]
    truth: str | None = Field(
        None, description="Column with the true probability, as in simulated logs. Its AUC is the best attainable one."
    )


class RegressionTask(Task):
    """A numeric label; the model predicts it in its own units, trained by squared error after `transform`."""

    kind: Literal["regression"]
    transform: Literal["log1p", "none"] = Field("none", description="Scale of the squared error.")


TaskSpec = Annotated[BinaryTask | RegressionTask, Field(discriminator="kind", title="Task")]
