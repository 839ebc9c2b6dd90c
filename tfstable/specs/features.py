"""Features: the columns of a log as inputs of a model."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tfstable.specs.base import Positive, Spec
from tfstable.specs.categorical import KEEP, TYPE, HashFeature, IdFeature, VocabularyFeature


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
