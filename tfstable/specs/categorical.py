"""Features that are embedded by a row per value."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tfstable.specs.base import CHANGEABLE, OPERATIONAL, Positive, Spec

TYPE = (
    "Type of the column in CSV files. Default: guessed from the first rows of the log's files. Files that state their "
    "types, such as Parquet, must agree."
)

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
        json_schema_extra=OPERATIONAL,  # Of the file the content counts, not the place.
    )
    pretrained_sha256: str | None = Field(
        None, description="SHA-256 of the pretrained file, filled in when a run begins. Other content is an error."
    )
    trainable: bool = Field(True, description="Whether the table is trained. false needs pretrained.")
    rate: Positive = Field(
        1.0,
        description="Learning rate of the table, relative to that of its optimizer.",
        json_schema_extra=CHANGEABLE,
    )

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
