"""Selects the rows that a metric measures, and checks its arrays."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tfstable.specs import MISSING_INT


class Rows(NamedTuple):
    """The rows that count: labelled, with positive weight."""

    labels: np.ndarray  # (rows,) float64
    predictions: np.ndarray  # (rows,) float64, may be not finite
    weights: np.ndarray  # (rows,) float64, positive
    kept: np.ndarray  # (rows given,) bool, True for the rows that count

    @property
    def measurable(self) -> bool:
        """Whether a row counts, and all predictions are finite."""
        return len(self.labels) > 0 and bool(np.isfinite(self.predictions).all())


def counted_rows(labels: ArrayLike, predictions: ArrayLike, weights: ArrayLike | None = None) -> Rows:
    """Checks the arrays of a metric and leaves out the rows that do not count.

    Args:
        labels: `(n,)` finite numbers; NaN masks a row. Rows of weight 0 may hold any value.
        predictions: `(n,)` numbers. Rows that do not count may hold any value.
        weights: `(n,)` finite numbers, at least 0; 0 leaves a row out. Default: 1 per row.

    Raises:
        ValueError: If an array is not 1-D, the lengths differ, a label is infinite, or a weight is negative or not
            finite.
    """
    labels = column("labels", labels)
    predictions = column("predictions", predictions, len(labels))
    weights = np.ones(len(labels)) if weights is None else column("weights", weights, len(labels))
    labelled = ~np.isnan(labels)
    check("weights", weights[labelled], lambda w: np.isfinite(w) & (w >= 0), "finite and at least 0")
    kept = labelled & (weights > 0)
    check("labels", labels[kept], np.isfinite, "finite, or NaN where masked")
    return Rows(labels[kept], predictions[kept], weights[kept], kept)


def group_numbers(groups: ArrayLike, length: int) -> np.ndarray:
    """Numbers groups 0, 1, ... in order of first occurrence: `(length,)` int64, -1 for rows without a group.

    A row has no group if its id is None, NaN, "" or the smallest int64, the missing values of text and ids.
    """
    numbers, ids = pd.factorize(np.asarray(groups) if isinstance(groups, list | tuple) else groups)
    if len(numbers) != length:
        raise ValueError(f"groups must have as many rows as the other arrays: {length}, got {len(numbers)}")
    missing = np.flatnonzero(np.asarray(pd.Index(ids).isin(["", MISSING_INT])))
    numbers = np.where(np.isin(numbers, missing), -1, numbers)
    return (numbers - np.searchsorted(missing, numbers)).astype(np.int64)  # Later numbers move down.


def column(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """`values` as a 1-D float64 array, checked against `length` if given."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {values.shape}")
    if length is not None and len(values) != length:
        raise ValueError(f"{name} must have as many rows as the other arrays: {length}, got {len(values)}")
    return values


def check(name: str, values: np.ndarray, holds: Callable[[np.ndarray], np.ndarray], rule: str) -> None:
    """Raises a ValueError that names the first value for which `holds(values)` is False."""
    good = holds(values)
    if not good.all():
        raise ValueError(f"{name} must be {rule}, got {values[~good][0]:g}")


def check_binary(labels: np.ndarray) -> None:
    check("labels", labels, lambda y: (y == 0) | (y == 1), "0 or 1 (NaN where masked)")


def check_probabilities(name: str, values: np.ndarray) -> None:
    """Lets values pass that are not finite: the metric is then NaN."""
    check(name, values, lambda p: ~np.isfinite(p) | ((p >= 0) & (p <= 1)), "between 0 and 1")
