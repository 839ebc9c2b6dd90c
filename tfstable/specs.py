"""Feature and task specifications: the meaning of the columns of a log.

They are pydantic models, which check themselves, and import no TensorFlow, so that config errors appear quickly.
A null in the log is *missing* here: NaN in a float column, `MISSING_INT` in an integer column, "" in a string column.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MISSING_INT = -(2**63)  # The smallest int64 marks a null in integer arrays; no id may have this value.

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

TYPE = (
    "Type of the column in CSV files. Default: guessed from the first rows of the log's files. Files that state their "
    "types, such as Parquet, must agree."
)


class Spec(BaseModel):
    """Base of all config sections. Unknown keys are errors; a spec is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


KEEP = (
    "Which values stay of an example that has more than max_values: last suits a history in order of time, newest last."
)


class Categorical(Spec):
    """Common keys of the categorical kinds: one embedding row per value.

    A column of lists, or a string column with a `delimiter`, holds several values per example; their rows are pooled.
    """

    column: str | None = Field(None, description="Column of the log. Default: the name of the feature.")
    type: Literal["string", "int"] | None = Field(None, description=TYPE)
    dim: int = Field(16, ge=1, description="Width of the embedding.")
    table: str | None = Field(
        None,
        description="Name of the embedding table. Features with the same name share it. Default: a table of its own.",
    )
    delimiter: str | None = Field(
        None, min_length=1, description="Split a string such as '12,65' into several values at this delimiter."
    )
    max_values: int = Field(8, ge=1, description="Values kept per example.")
    keep: Literal["first", "last"] = Field("last", description=KEEP)
    pooling: Literal["mean", "sum"] = Field("mean", description="How the embeddings of several values are combined.")
    pretrained: str | None = Field(
        None,
        min_length=1,
        description="File of vectors that the table starts from: Parquet with columns id and vector, or .npz with "
        "arrays of these names. Other ids start as usual.",
    )
    pretrained_sha256: str | None = Field(
        None, description="SHA-256 of the pretrained file, filled in when a run begins. Other content is an error."
    )
    trainable: bool = Field(True, description="Whether the table is trained. false needs pretrained.")
    rate: Positive = Field(1.0, description="Learning rate of the table, relative to that of its optimizer.")

    @model_validator(mode="after")
    def _frozen_tables_are_given(self) -> Self:
        if not self.trainable and not self.pretrained:
            raise ValueError("trainable: false leaves the table as it starts; name its file: pretrained")
        if not self.trainable and self.rate != 1:
            raise ValueError("trainable: false has no use for a rate; drop one of the two")
        return self

    @model_validator(mode="after")
    def _text_is_split(self) -> Self:
        if self.delimiter and self.type == "int":
            raise ValueError("type: int has nothing to split; drop it or the delimiter")
        return self


class HashFeature(Categorical):
    """Integers or strings, hashed into `buckets` rows plus one row for missing values: the usual kind for ids."""

    kind: Literal["hash"]
    buckets: int = Field(ge=1, description="Rows of the table, without the extra row for missing values.")
    columns: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="Instead of column: columns of ids or text, one value each, whose combination is the value. It is "
        "missing if one of them is.",
    )

    @model_validator(mode="after")
    def _crossed_columns_are_plain(self) -> Self:
        if self.columns is None:
            return self
        if given := [key for key in ("column", "type", "delimiter", "pretrained") if getattr(self, key)]:
            raise ValueError(f"columns takes no {given[0]}; leave one of the two out")
        if twice := [column for i, column in enumerate(self.columns) if column in self.columns[:i]]:
            raise ValueError(f"columns names {twice[0]} twice")
        return self


class VocabularyFeature(Categorical):
    """A small set of values, fitted on the first window; row 0 is for unknown and missing values."""

    kind: Literal["vocabulary"]
    max_size: int = Field(10_000, ge=1, description="Largest number of values; the most frequent ones are kept.")
    min_count: int = Field(
        1,
        ge=1,
        description="Values that occur less often in the first window are treated as unknown. With grow: rows of the "
        "log up to a window's last day.",
    )
    grow: bool = Field(
        False,
        description="Let new values join before each window trains, the most frequent first, while there is room.",
    )


class IdFeature(Categorical):
    """Integers or strings with a row each, without collisions, given to new ids and taken from those that are gone.

    Before a window trains, ids of its days get rows; row 0 is for all others and for missing values. See `inputs.ids`.
    """

    kind: Literal["id"]
    capacity: int = Field(
        ge=1,
        le=2**31 - 2,
        description="Most ids that have a row at a time. If more come, those not seen for longest lose theirs.",
    )
    min_count: int = Field(
        1, ge=1, description="Rows of the log, up to a window's last day, that an id needs to get a row."
    )
    expire_days: int | None = Field(
        None,
        ge=1,
        description="Days without a row of the log after which an id is forgotten: its row goes to another, and if it "
        "comes back it is new. Default: an id keeps its row until others need it, and its count for ever.",
    )


class QuantileFeature(Spec):
    """A number as a category: one embedding row per quantile bucket of the first window.

    Row 0 is for missing values. A network can then treat a heavy-tailed count as trees do, without a scale. A value
    frequent enough to fill a bucket gets its own; the other values share the remaining buckets. A column of lists
    holds several values per example; their rows are averaged.
    """

    kind: Literal["quantile"]
    column: str | None = Field(None, description="Column of the log. Default: the name of the feature.")
    type: Literal["int", "float"] | None = Field(None, description=TYPE)
    dim: int = Field(8, ge=1, description="Width of the embedding.")
    buckets: int = Field(
        32, ge=2, description="Largest number of buckets. A column with fewer distinct values has fewer."
    )
    boundaries: tuple[FiniteFloat, ...] | None = Field(
        None, min_length=1, description="Lower bounds of the buckets, increasing. Default: fitted on the first window."
    )
    max_values: int = Field(8, ge=1, description="Values kept per example of a column of lists.")
    keep: Literal["first", "last"] = Field("last", description=KEEP)

    @model_validator(mode="after")
    def _boundaries_in_order(self) -> Self:
        given = self.boundaries or ()
        if any(low >= high for low, high in pairwise(given)):
            raise ValueError(f"boundaries must increase, got {list(given)}")
        if len(given) >= self.buckets:
            raise ValueError(f"{len(given)} boundaries make {len(given) + 1} buckets; set buckets: {len(given) + 1}")
        return self


class NumericFeature(Spec):
    """A number: log1p (sign kept), clip, standardise, in this order.

    Mean and standard deviation are fitted on the first window's known values, after log1p and clip. A missing value
    becomes the mean, which is 0 when standardised, unless `missing` is set.
    """

    kind: Literal["numeric"]
    column: str | None = Field(None, description="Column of the log. Default: the name of the feature.")
    type: Literal["int", "float"] | None = Field(None, description=TYPE)
    missing: FiniteFloat | None = Field(
        None,
        description="Replace a null by this value, in the units of the column, also in the fit. Default: the mean.",
    )
    log1p: bool = Field(False, description="Apply sign(x) * log(1 + |x|).")
    clip: tuple[float, float] | None = Field(
        None, description="Clip to [lowest, highest], after log1p. Default: no clipping."
    )
    standardise: bool = Field(True, description="Subtract the mean, divide by the standard deviation.")
    moments: tuple[FiniteFloat, Annotated[FiniteFloat, Field(gt=0)]] | None = Field(
        None, description="[mean, standard deviation], after log1p and clip. Default: fitted on the first window."
    )

    @model_validator(mode="after")
    def _clip_in_order(self) -> Self:
        if self.clip and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip must be [lowest, highest] with lowest < highest, got {list(self.clip)}")
        return self

    @model_validator(mode="after")
    def _moments_are_used(self) -> Self:
        if self.moments and not self.standardise:
            raise ValueError("only standardise uses moments; drop moments or standardise: false")
        return self


class VectorFeature(Spec):
    """A vector of floats per example, such as an embedding of a text or an image, from a column of lists.

    A null, or a vector with an element that is null, NaN or infinite, is missing: it becomes zeros. One more number
    states whether the vector is missing (1) or not (0).
    """

    kind: Literal["vector"]
    column: str | None = Field(None, description="Column of the log. Default: the name of the feature.")
    type: Literal["float"] | None = Field(None, description=TYPE)
    width: int = Field(ge=1, description="Elements of each vector. A row of another length is an error.")
    normalise: Literal["none", "l2", "layer"] = Field(
        "none",
        description="l2: divide each vector by its length. layer: subtract the mean of its elements, divide by their "
        "standard deviation.",
    )
    projection: int | None = Field(
        None,
        ge=1,
        description="Width of a learned linear projection, without a bias, after normalise. Default: no projection.",
    )


class CounterFeature(Spec):
    """What happened to a key on earlier days, such as the click rate of a video: numbers that no one has to train.

    A row of day d sees the rows of days before d alone, also in training. See `inputs.counters` for the formulas.
    """

    kind: Literal["counter"]
    by: tuple[str, ...] = Field(min_length=1, description="Columns of the log whose values together are the key.")
    of: tuple[str, ...] = Field(min_length=1, description="Tasks whose labels are counted.")
    half_life_days: Positive | None = Field(
        None, description="Days after which a row counts half. Default: all rows count alike."
    )
    smoothing: Positive = Field(20.0, description="Rows of the average key that are added to each key.")
    delay_days: int = Field(
        0, ge=0, le=3650, description="Days before a row's own that it does not see either, for labels that come late."
    )
    buckets: int = Field(
        2**22,
        ge=1,
        le=2**27,
        description="Keys are hashed into this many buckets; it bounds the memory. Keys that fall into one bucket are "
        "counted together.",
    )
    types: dict[str, Literal["string", "int"]] = Field(
        default_factory=dict,
        description="Type of each column of `by` in CSV files. Default: guessed from the first rows.",
    )

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for key, names in (("by", self.by), ("of", self.of)):
            if repeated := [name for i, name in enumerate(names) if name in names[:i]]:
                raise ValueError(f"{key} names {repeated[0]} twice; leave one out")
        if unknown := [name for name in self.types if name not in self.by]:
            raise ValueError(f"types: {unknown[0]} is no column of by; the columns are {', '.join(self.by)}")
        return self


Feature = Annotated[
    HashFeature | VocabularyFeature | IdFeature | QuantileFeature | NumericFeature | VectorFeature | CounterFeature,
    Field(discriminator="kind", title="Feature"),
]


class Task(Spec):
    """Common keys of the task kinds. A null label masks the task for that example."""

    label: str | None = Field(None, description="Label column. Default: the name of the task.")
    weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="Weight of the task's loss in the total loss.")


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


def counters(features: Mapping[str, Feature]) -> dict[str, CounterFeature]:
    """Returns the counters among the features, by name."""
    return {name: feature for name, feature in features.items() if isinstance(feature, CounterFeature)}


def living(features: Mapping[str, Feature]) -> dict[str, IdFeature | VocabularyFeature]:
    """Returns the features whose map from value to row changes with the days, by name."""
    return {
        name: feature
        for name, feature in features.items()
        if isinstance(feature, IdFeature) or (isinstance(feature, VocabularyFeature) and feature.grow)
    }
