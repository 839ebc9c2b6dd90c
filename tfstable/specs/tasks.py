"""Tasks: the columns of a log as labels of a model."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from tfstable.specs.base import CHANGEABLE, Positive, Spec
from tfstable.specs.losses import ListLoss

# What losses read of a row besides labels, under names that no task can have, in the dict of the labels.
GROUP, LATE, OFFSET, WEIGHT = "//group", "//late/", "//offset/", "//weight/"
LOGIT_SUM = "//sum/"  # And what a loss reads of the model besides logits; see `models.JointRanking`.


class Calibrate(Spec):
    """How a task's predictions are calibrated."""

    half_life_days: Positive = Field(
        2.0, description="Days after which an evaluated day counts half as much, when the map is fitted."
    )
    knots: int = Field(16, ge=1, le=32, description="Most knots of the map. Fewer are used where data are few.")


def _calibrate(given: object) -> object:
    return {} if given is True else None if given is False else given


LABEL_KEYS = (
    *("weight", "weight_column", "matures_after_days", "truth", "soft_labels", "positive_weight", "negative_rate"),
    *("calibrate", "loss", "fresh"),
)


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
    weight_column: str | None = Field(
        None,
        description="Column of this task's example weights, which multiply those of data.weight, in losses and "
        "metrics. A null weighs 0. Default: 1 per example.",
        json_schema_extra=CHANGEABLE,
    )
    matures_after_days: int | None = Field(
        None,
        ge=1,
        description="Days after which a label is complete: the label of day d is used from the end of day d + N on, by "
        "the window that then ends, and measured then. Default: it is complete at the end of its own day.",
    )
    calibrate: Annotated[
        Calibrate | None, BeforeValidator(_calibrate, json_schema_input_type=Calibrate | bool | None)
    ] = Field(
        None,
        description="Map the logit by a monotone, piecewise linear function, fitted anew before each window to the "
        "days that the model had not seen when it predicted them. Training does not see it. true: with the defaults.",
        json_schema_extra=CHANGEABLE,
    )


class FreshLabels(Spec):
    """Training on labels that are not complete yet: each row on its own day, once more when its label is complete."""

    delay_column: str = Field(
        description="Column of the days from a row's day to the day on which its positive label came: 0 if on the same "
        "day. A null counts as 0."
    )
    late_share: float = Field(
        gt=0, lt=1, description="Share of the positive labels that come after the day of their row."
    )


class BinaryTask(Task):
    """A label of 0 or 1 (or boolean); the model predicts its probability, trained by cross-entropy on the logit."""

    kind: Literal["binary"]
    truth: str | None = Field(
        None, description="Column with the true probability, as in simulated logs. Its AUC is the best attainable one."
    )
    loss: ListLoss | None = Field(
        None,
        description="A loss on the order of rows within groups, mixed with the cross-entropy. It needs "
        "trainer.shuffle.kind: groups. Default: cross-entropy alone.",
        json_schema_extra=CHANGEABLE,
    )
    soft_labels: bool = Field(False, description="Labels are probabilities: any number between 0 and 1.")
    positive_weight: Positive = Field(
        1.0,
        description="Factor of the loss of positives. The model then predicts odds that are as many times too high.",
        json_schema_extra=CHANGEABLE,
    )
    base_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Rate of positives that the untrained model predicts. Default: that of the first window; 0.5 if "
        "its labels are not complete by its end.",
    )
    negative_rate: Annotated[float, Field(gt=0, le=1)] | str | None = Field(
        None,
        description="Share of this task's negatives that the log holds, beside all its positives; or a column of it, "
        "where it varies. Predictions and metrics are those of the whole population. Default: all.",
    )
    product_of: tuple[str, ...] = Field(
        (),
        description="Binary tasks whose probabilities are multiplied to this task's, which has no head of its own: "
        "[click, buy_after_click] makes p(buy) over all examples (Ma et al., 2018).",
    )
    implicit: bool = Field(
        False,
        description="No column holds this task's label. It is learned through a task whose product_of names it, and "
        "has no metrics.",
    )
    fresh: FreshLabels | None = Field(
        None,
        description="Train on each day's labels at once, incomplete as they are, besides the complete ones. Default: "
        "wait until they are complete.",
    )

    @model_validator(mode="after")
    def _keys_fit_products(self) -> "BinaryTask":
        if len(self.product_of) == 1 or len(set(self.product_of)) < len(self.product_of):
            raise ValueError("product_of names two or more tasks, each once")
        if self.implicit and self.product_of:
            raise ValueError("an implicit task is no product: a product is what its label is for; drop one of the two")
        default = BinaryTask(kind="binary") if self.implicit else self
        for key in ("label", *LABEL_KEYS):
            if getattr(self, key) != getattr(default, key):
                raise ValueError(f"an implicit task has no label, so {key} says nothing; drop it")
        if self.product_of and self.loss and self.loss.kind == "jrc":
            raise ValueError("loss.kind: a product has no head, and jrc needs two outputs of one; take another loss")
        return self

    @model_validator(mode="after")
    def _fresh_labels_mature(self) -> "BinaryTask":
        if self.fresh and not self.matures_after_days:
            raise ValueError("fresh: labels that are complete at once need none; set matures_after_days")
        if self.fresh and (self.soft_labels or self.positive_weight != 1):
            other = "soft_labels" if self.soft_labels else "positive_weight"
            raise ValueError(f"fresh: its loss takes no {other}; drop one of them")
        return self

    @property
    def rate_column(self) -> str | None:
        """The column of `negative_rate`, if it is one."""
        return self.negative_rate if isinstance(self.negative_rate, str) else None


class RegressionTask(Task):
    """A numeric label; the model predicts it in its own units, trained by squared error after `transform`."""

    kind: Literal["regression"]
    transform: Literal["log1p", "none"] = Field("none", description="Scale of the squared error.")


TaskSpec = Annotated[BinaryTask | RegressionTask, Field(discriminator="kind", title="Task")]
