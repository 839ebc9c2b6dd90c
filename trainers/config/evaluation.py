"""The config's section on the evaluation of a day. Imports no TensorFlow."""

from datetime import date
from typing import Annotated

from pydantic import Field, model_validator

from tfstable.specs import OPERATIONAL, Spec

# What an evaluation calls its own metrics of a task; NAME@k of lists.
METRICS = frozenset(
    {"auc", "auc_se", "pr_auc", "pr_auc_se", "best_auc", "gauc", "logloss", "ne", "calibration", "ece"}
    | {"rmse", "rmse_se", "mae", "mrr", "map", "ndcg", "recall"}
    | {"labels", "positives", "predicted", "spread", "slices"}
)


class RankingConfig(Spec):
    """Metrics of ranked lists: NDCG, recall, MRR and MAP of each binary task."""

    by: str = Field(description="Column of the list that a row belongs to: its request, or its user.")
    at: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (5, 10), min_length=1, description="Lengths k of the list for NDCG@k and recall@k."
    )


class OwnMetric(Spec):
    """A metric of one's own."""

    function: str = Field(
        description="Import path of a function of labels, predictions, weights and groups that returns a number."
    )
    tasks: tuple[str, ...] = Field((), description="Tasks to measure. Default: all.")


class EvaluationConfig(Spec):
    """How to evaluate a day."""

    gauc_column: str | None = Field(
        None,
        description="Column that groups examples for GAUC, such as the user's id. Default: no GAUC.",
        json_schema_extra=OPERATIONAL,
    )
    ranking: RankingConfig | None = Field(
        None,
        description="Metrics of ranked lists. Default: none.",
        json_schema_extra=OPERATIONAL,
    )
    slices: tuple[str, ...] = Field(
        (),
        description="Columns of text or whole numbers. A day is also measured for each of their 10 commonest values "
        "that have at least 100 rows, and for the other rows together.",
        json_schema_extra=OPERATIONAL,
    )
    metrics: dict[str, str | OwnMetric] = Field(
        default_factory=dict,
        description="Metrics of one's own by name: the import path of a function, which measures every task, or the "
        "path and the tasks.",
        json_schema_extra=OPERATIONAL,
    )
    batch_size: int = Field(
        8192, ge=1, description="Examples per step of an evaluation.", json_schema_extra=OPERATIONAL
    )
    compare_since: date | None = Field(
        None,
        description="Compare a day's metrics and label rates only with days from this one on. Set it after an intended "
        "change of the labels. Default: the first day of the run.",
        json_schema_extra=OPERATIONAL,
    )

    @model_validator(mode="after")
    def _own_names_are_free(self) -> "EvaluationConfig":
        for name in self.metrics:
            if name.partition("@")[0] in METRICS:
                raise ValueError(f"metrics.{name}: an evaluation has a metric of this name already; choose another")
        return self

    @property
    def own_metrics(self) -> dict[str, OwnMetric]:
        """The metrics of one's own by name."""
        return {n: OwnMetric(function=m) if isinstance(m, str) else m for n, m in self.metrics.items()}

    @property
    def group_columns(self) -> list[str]:
        """The columns whose values group rows."""
        wanted = [self.gauc_column, self.ranking and self.ranking.by, *self.slices]
        return list(dict.fromkeys(column for column in wanted if column))
