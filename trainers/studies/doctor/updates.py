"""How far each window moves the weights, from the checkpoints that the run keeps."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from tfstable.errors import InputError
from tfstable.models import RankingModel
from trainers.studies.doctor.tables import places
from trainers.training.state import RunState


@dataclass(frozen=True)
class Updates:
    """The change of the weights between two kept checkpoints, each at the end of a window.

    Attributes:
        since: Last day of the earlier one; None: untrained.
        last: Last day of the later one.
        ratios: Norm of the change over the norm of the later weights: of dense variables by path, of tables by
            "table NAME", over the rows that changed. 0 for weights that did not move.
    """

    since: date | None
    last: date
    ratios: dict[str, float]


def updates(state: RunState) -> list[Updates]:
    """Returns the updates between neighbouring checkpoints, the oldest first; restores the newest one at the end.

    A checkpoint that a training process has deleted meanwhile is left out. Memory holds the weights twice.
    """
    found, before, since = [], None, None
    for saved in state.checkpoints.all():
        if saved.step or not _restored(state, saved.number):
            continue
        now = dict(_weights(state.learner.model))
        if before is not None and saved.last is not None and saved.last != since:
            found.append(Updates(since, saved.last, {name: ratio(before[name], w, name) for name, w in now.items()}))
        before, since = now, saved.last
    state.restore()
    return found


def ratio(before: np.ndarray, now: np.ndarray, name: str) -> float:
    """Returns the norm of the change over the norm of the later weights; of a table over the rows that changed."""
    change = now.astype(np.float64) - before
    if name.startswith("table "):
        moved = change.any(axis=1)
        change, now = change[moved], now[moved]
    size = float(np.linalg.norm(now))
    return float(np.linalg.norm(change)) / size if size else 0.0


def _restored(state: RunState, number: int) -> bool:
    try:
        state.restore(number)
    except InputError:  # Deleted while it was read.
        return False
    return state.saved is not None


def _weights(model: RankingModel) -> Iterator[tuple[str, np.ndarray]]:
    of_tables = places(model.embeddings)
    tables = {id(variable) for variable, _, _ in of_tables.values()}
    for table, (variable, first, end) in of_tables.items():
        if variable.trainable:
            yield f"table {table}", variable.value[first:end].numpy()
    for variable in model.trainable_variables:
        if id(variable) not in tables:
            yield variable.path.removeprefix(f"{model.name}/"), variable.numpy()
