"""Embedding tables: how many rows have been trained, how many dimensions they use, how many of their ids still come."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import keras
import numpy as np
import pyarrow.compute as pc

from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values
from tfstable.inputs.ids import IdMap
from tfstable.inputs.statistics import table_name
from tfstable.layers import Embeddings
from tfstable.optimizers.composite import Composite
from trainers.build.learner import Learner
from trainers.config import Config
from trainers.studies.doctor.inputs import Seen

IDLE_DAYS = 7  # Days without a row after which an id counts as idle: every day of the week has come once.


@dataclass(frozen=True)
class TableFacts:
    """An embedding table of the newest checkpoint.

    Attributes:
        features: The features that share it.
        rows, dim: Its size.
        trained: Rows that a step has updated, by the optimizer's slots; None for a rule without slots, and for a table
            that is not trained.
        rank: Effective rank of the trained rows, or of all where `trained` is None; None without a row.
        abundance: Information abundance of the same rows.
        ids: Ids that have a row, of a table that gives them rows; of others, different ids that the days read had, of
            the feature with most. None for a quantile feature.
        idle: Share of those ids that none of the last `IDLE_DAYS` days had; None if that is not known yet.
    """

    features: tuple[str, ...]
    rows: int
    dim: int
    trained: int | None
    rank: float | None
    abundance: float | None
    ids: int | None
    idle: float | None


def table_facts(
    config: Config, learner: Learner, seen: Mapping[str, Seen], ids: Mapping[str, IdMap], days: list[date]
) -> dict[str, TableFacts]:
    """Returns the facts of each embedding table, by its name.

    Args:
        config: The run's config.
        learner: Model and optimizer, restored.
        seen: The ids of each categorical feature on the days read.
        ids: The ids that have rows now, by table.
        days: The days read.
    """
    features: dict[str, list[str]] = {}
    for name, feature in config.features.items():
        features.setdefault(table_name(name, feature), []).append(name)
    found = {}
    for table, (variable, first, end) in places(learner.model.embeddings).items():
        touched = touched_rows(learner.optimizer, variable)
        rows = variable.value[first:end].numpy()
        trained = None if touched is None else touched[first:end]
        sigma = singular_values(rows if trained is None else rows[trained])
        number, idle = _ids([seen[name] for name in features[table] if name in seen], ids.get(table), days)
        found[table] = TableFacts(
            features=tuple(features[table]),
            rows=len(rows),
            dim=rows.shape[1],
            trained=None if trained is None else int(trained.sum()),
            rank=effective_rank(sigma) if sigma.any() else None,
            abundance=information_abundance(sigma) if sigma.any() else None,
            ids=number,
            idle=idle,
        )
    return found


def _ids(seen: list[Seen], ids: IdMap | None, days: list[date]) -> tuple[int | None, float | None]:
    """The number of ids, and the share of them that is idle."""
    if ids is not None:
        last = ids.known.filter(pc.greater(ids.known["row"], 0))["last"].to_numpy()
        return len(last), idle_share(last, IDLE_DAYS, days[-1])
    if not seen:
        return None, None
    most = max(seen, key=lambda each: each.distinct)
    is_long = (days[-1] - days[0]).days >= IDLE_DAYS
    return most.distinct, idle_share(most.last, IDLE_DAYS, days[-1]) if is_long else None


def idle_share(last: np.ndarray, days: int, today: date) -> float | None:
    """Returns the share of ids that none of the last `days` days up to `today` had; None without an id.

    Args:
        last: `(ids,)` ordinal of the last day of each.
        days: Number of days.
        today: The newest day.
    """
    return float((last <= today.toordinal() - days).mean()) if len(last) else None


def places(embeddings: Embeddings) -> dict[str, tuple[keras.Variable, int, int]]:
    """Returns where each table lies, by its name: the variable, its first row there and the row after its last."""
    found = {}
    for feature in embeddings.features.values():
        variable, first = embeddings.place(feature.table)
        found[feature.table] = variable, first, first + feature.rows
    return found


def touched_rows(optimizer: Composite, variable: Any) -> np.ndarray | None:
    """Returns which rows of a variable have been trained, `(rows,)` bool; None where nothing shows it."""
    for group in optimizer.groups:
        if variable.trainable and variable in group:
            touched = group.optimizer.touched_rows(variable)
            return None if touched is None else touched.numpy()
    return None
