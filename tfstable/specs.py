"""What the columns of a log mean: feature and task specifications.

They are pydantic models, so that a config checks itself, and import no TensorFlow, so that a config error is quick.
A null in the log is *missing* here: NaN in a float column, `MISSING_INT` in an integer column, "" in a string column.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MISSING_INT = -(2**63)  # No id is the smallest int64; it marks a null where integers know none.

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

TYPE = (
    "What a CSV file's column holds. Default: what the first rows of the log's files look like. A file that knows its "
    "types must agree."
)


class Spec(BaseModel):
    """Base of everything that a config holds: unknown keys are errors, and a spec never changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Categorical(Spec):
    """What the categorical kinds share: an embedding row for each value.

    A column of lists, or a string column with a `delimiter`, holds several values an example; their rows are pooled.
    """

    column: str | None = Field(None, description="Column of the log; default: the feature's name.")
    type: Literal["string", "int"] | None = Field(None, description=TYPE)
    dim: int = Field(16, ge=1, description="Width of the embedding.")
    table: str | None = Field(None, description="Embedding table; features that name one share it. Default: its own.")
    delimiter: str | None = Field(None, min_length=1, description="Splits a string such as '12,65' into values.")
    max_values: int = Field(8, ge=1, description="Values kept of a several-valued example; later ones are dropped.")
    pooling: Literal["mean", "sum"] = Field("mean", description="How the rows of several values become one.")

    @model_validator(mode="after")
    def _text_is_split(self):
        if self.delimiter and self.type == "int":
            raise ValueError("type: int has nothing to split; drop it or the delimiter")
        return self


class HashFeature(Categorical):
    """Integers or strings hashed into `buckets` rows, with one more row for missing values: the default for ids."""

    kind: Literal["hash"]
    buckets: int = Field(ge=1, description="Rows of the table, the one for missing values aside.")


class VocabularyFeature(Categorical):
    """A small set of values, fitted on the first window; row 0 stands for unknown and missing ones."""

    kind: Literal["vocabulary"]
    max_size: int = Field(10_000, ge=1, description="At most so many values; the most frequent stay.")
    min_count: int = Field(1, ge=1, description="Values seen less often in the first window count as unknown.")


class QuantileFeature(Spec):
    """A number as a category: one embedding row for each of `buckets` quantiles of the first window.

    Row 0 stands for missing. It lets a network treat a heavy-tailed count as trees do, without a scale. A value that
    fills a bucket has one of its own; the others share the remaining buckets.
    """

    kind: Literal["quantile"]
    column: str | None = Field(None, description="Column of the log; default: the feature's name.")
    type: Literal["int", "float"] | None = Field(None, description=TYPE)
    dim: int = Field(8, ge=1, description="Width of the embedding.")
    buckets: int = Field(32, ge=2, description="Buckets at most; a column of fewer different values has fewer.")
    boundaries: tuple[FiniteFloat, ...] | None = Field(
        None, min_length=1, description="Where a new bucket begins, increasing; default: fitted on the first window."
    )

    @model_validator(mode="after")
    def _boundaries_in_order(self):
        given = self.boundaries or ()
        if any(low >= high for low, high in pairwise(given)):
            raise ValueError(f"boundaries must increase, got {list(given)}")
        if len(given) >= self.buckets:
            raise ValueError(f"{len(given)} boundaries make {len(given) + 1} buckets; set buckets: {len(given) + 1}")
        return self


class NumericFeature(Spec):
    """A number: log1p (sign kept), clip, standardise, in this order.

    Mean and standard deviation are those of the first window's known values, after log1p and clip. A missing value
    becomes their mean, which is 0 once it is standardised, unless `missing` is set.
    """

    kind: Literal["numeric"]
    column: str | None = Field(None, description="Column of the log; default: the feature's name.")
    type: Literal["int", "float"] | None = Field(None, description=TYPE)
    missing: FiniteFloat | None = Field(
        None, description="Stands in for a null, in the column's own units, in the fit too; default: the mean."
    )
    log1p: bool = Field(False, description="sign(x) * log(1 + |x|).")
    clip: tuple[float, float] | None = Field(None, description="[lowest, highest], after log1p.")
    standardise: bool = Field(True, description="Subtract the mean, divide by the standard deviation.")
    moments: tuple[FiniteFloat, Annotated[FiniteFloat, Field(gt=0)]] | None = Field(
        None, description="[mean, standard deviation], after log1p and clip; default: fitted on the first window."
    )

    @model_validator(mode="after")
    def _clip_in_order(self):
        if self.clip and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip must be [lowest, highest] with lowest < highest, got {list(self.clip)}")
        return self

    @model_validator(mode="after")
    def _moments_are_used(self):
        if self.moments and not self.standardise:
            raise ValueError("moments are what standardise uses; leave out one of moments and standardise: false")
        return self


Feature = Annotated[
    HashFeature | VocabularyFeature | QuantileFeature | NumericFeature, Field(discriminator="kind", title="Feature")
]


class Task(Spec):
    """What the task kinds share. A null label masks the task for that example."""

    label: str | None = Field(None, description="Label column; default: the task's name.")
    weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="Factor of the task's loss in the sum.")


class BinaryTask(Task):
    """A label of 0 or 1 (or boolean); predicts its probability, trained by cross-entropy on the logit."""

    kind: Literal["binary"]
    truth: str | None = Field(
        None, description="Column with the true probability, which simulated logs know: its AUC is the best attainable."
    )


class RegressionTask(Task):
    """A number; predicts it in its own units, trained by squared error after `transform`."""

    kind: Literal["regression"]
    transform: Literal["log1p", "none"] = Field("none", description="Scale on which the error is squared.")


TaskSpec = Annotated[BinaryTask | RegressionTask, Field(discriminator="kind", title="Task")]


def feature_columns(features: dict[str, Feature]) -> dict[str, str]:
    """Returns the log column of each feature, by the feature's name."""
    return {name: feature.column or name for name, feature in features.items()}


def label_columns(tasks: dict[str, TaskSpec]) -> dict[str, str]:
    """Returns the label column of each task, by the task's name."""
    return {name: task.label or name for name, task in tasks.items()}
