"""Where each row of an embedding table was before: by value, or by hash."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfstable.inputs.statistics import Statistics, table_name, table_rows
from tfstable.specs import Feature, HashFeature, QuantileFeature, VocabularyFeature


class Rows(NamedTuple):
    """The rows of a table.

    Attributes:
        old: `(rows,)` row there by row here.
        joined: `(rows,)` bool: values that had no row of their own there. They start as the unknown value, whose row
            they had, but the optimizer has seen nothing of them.
        exact: Whether every value finds the row that it had.
        note: How the table has changed; empty if it has not.
    """

    old: np.ndarray
    joined: np.ndarray
    exact: bool
    note: str


def rows(
    name: str, spec: Feature, statistics: Statistics, old: str, before: Feature, old_statistics: Statistics
) -> Rows:
    """Returns where the rows of a feature's table were, of two features of one kind.

    Hashed: with B buckets there and B' here, a multiple, a value of hash h had row 1 + h % B and has 1 + h % B'; since
    (h % B') % B = h % B, row r takes row 1 + (r - 1) % B. By value: see `rows_of_values`. Quantiles: a bucket takes the
    row of the bucket there that holds its lower bound.

    Args:
        name, spec, statistics: The feature here.
        old, before, old_statistics: The feature there.
    """
    count, was = table_rows(name, spec, statistics), table_rows(old, before, old_statistics)
    same = np.zeros(count, bool)
    if isinstance(spec, VocabularyFeature):
        values = statistics.vocabularies[table_name(name, spec)]
        row_of = {value: row for row, value in enumerate(old_statistics.vocabularies[table_name(old, before)], 1)}
        return rows_of_values(values, row_of)
    if isinstance(spec, HashFeature):
        assert isinstance(before, HashFeature)  # Of the same kind.
        found = np.append(0, 1 + np.arange(spec.buckets) % before.buckets)
        return Rows(found, same, True, "" if count == was else f"{was:,} rows -> {count:,}, each repeated")
    assert isinstance(spec, QuantileFeature)
    bounds, edges = old_statistics.boundaries[old], statistics.boundaries[name]
    lower = np.append(-np.inf, edges)
    found = np.append(0, 1 + np.searchsorted(bounds, lower, side="right"))
    refined = set(bounds) <= set(edges)
    return Rows(found, same, refined, "" if list(bounds) == list(edges) else f"{was:,} rows -> {count:,}, other bounds")


def rows_of_values(values: Sequence[int] | Sequence[str], row_of: Mapping[Any, int]) -> Rows:
    """Returns where the rows of values were; value i has row i + 1, and row 0 is for unknown values.

    Args:
        values: The values here.
        row_of: Row there by value.
    """
    old = np.array([0, *(row_of.get(value, 0) for value in values)])
    joined = np.append(False, old[1:] == 0)
    gone = len(row_of) - int((old > 0).sum())
    notes = [f"{int(joined.sum()):,} values join"] if joined.any() else []
    notes += [f"{gone:,} values become unknown"] if gone else []
    return Rows(old, joined, not gone, ", ".join(notes))
