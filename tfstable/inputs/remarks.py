"""Remarks on features that cannot be fitted on the first window, for the user to read before training.

A feature with no value, or only one, in the first window cannot be fitted. It is held constant for the whole run, and a
line says so.
"""

import numpy as np
import pyarrow as pa

from tfstable.data.columns import RawColumn
from tfstable.data.types import cast
from tfstable.inputs.moments import RESOLUTION, Moments
from tfstable.specs import NumericFeature, QuantileFeature

REACH = 100  # A number farther from its mean than this, in standard deviations, gets a remark.


class Seen:
    """Facts about a column of numbers: its nulls, its range, and its rounding to float32."""

    def __init__(self) -> None:
        self.missing, self.least, self.greatest = 0, np.inf, -np.inf
        self._exact, self._rounding = Moments(), Moments()

    def add(self, x: np.ndarray, array: pa.ChunkedArray, column: RawColumn) -> None:
        """Adds a piece.

        Args:
            x: `(rows,)` float64, rounded as the model sees it; NaN where missing.
            array: The same rows, unrounded.
            column: The raw column.
        """
        known = np.isfinite(x)
        self.missing += len(x) - int(known.sum())
        if not known.any():
            return
        self.least, self.greatest = min(self.least, x[known].min()), max(self.greatest, x[known].max())
        if column.dtype == "float32" and array.type != pa.float32():
            exact = cast(array, pa.float64()).to_numpy()[known]
            self._exact.add(exact)
            self._rounding.add(exact - x[known])

    @property
    def known(self) -> bool:
        """Whether the column has a value."""
        return self.least <= self.greatest

    def lost(self, column: str) -> str | None:
        """Returns a clause if rounding to float32 loses the differences between the column's values, or None."""
        deviation = self._exact.deviation(RESOLUTION["int64"])
        if not np.hypot(self._rounding.mean, self._rounding.deviation(0.0)) > 0.1 * deviation > 0:
            return None
        return (
            f"column {column} varies by {deviation:.2g} around {self._exact.mean:.4g} in the first window, too little "
            "for float32; subtract an offset or rescale it in the log"
        )

    def constant(self, column: str) -> str | None:
        """Returns a clause if the column has no value, or only one, or None."""
        if not self.known:
            return f"column {column} has no value in the first window"
        if self.least == self.greatest:
            return f"column {column} has only the value {self.least:g} in the first window"
        return None


def numeric_remark(name: str, feature: NumericFeature, column: str, seen: Seen, reach: float) -> str | None:
    """Returns a line on a numeric feature that cannot be fitted, or whose scale depends on a few outliers, or None.

    Args:
        name, feature, column: The feature.
        seen: Facts about its column.
        reach: Largest distance of a value from the mean, in standard deviations, after log1p and clip; 0: no variation.
    """
    if lost := seen.lost(column):
        return f"features.{name}: {lost}"
    constant = seen.constant(column)
    if not feature.standardise:
        unknown = not seen.known and feature.missing is None
        return f"features.{name}: {constant}, so a null becomes 0; or set features.{name}.missing" if unknown else None
    if reach > REACH:
        keys = "clip" if feature.log1p else "log1p or clip"
        return (
            f"features.{name}: column {column} reaches {reach:.0f} standard deviations from its mean in the first "
            f"window{_after(feature)}; set features.{name}.{keys}, or kind: quantile"
        )
    if reach:
        return None
    constant = constant or f"column {column} does not vary in the first window{_after(feature)}"
    null = ""
    if seen.known and seen.missing and feature.missing is None:
        null = f", or features.{name}.missing if a null carries information"
    return (
        f"features.{name}: {constant}, so it is held at 0 for the whole run; if other values come later, set "
        f"features.{name}.moments: [mean, deviation]{null}"
    )


def quantile_remark(
    name: str, feature: QuantileFeature, column: str, seen: Seen, boundaries: int, sampled: bool
) -> str | None:
    """Returns a line on a quantile feature that uses less than half of its buckets, or None.

    Args:
        name, feature, column: The feature.
        seen: Facts about its column.
        boundaries: Number of its fitted boundaries.
        sampled: Whether they were fitted on a sample of the column.
    """
    if lost := seen.lost(column):
        return f"features.{name}: {lost}"
    if constant := seen.constant(column):
        return (
            f"features.{name}: {constant}, so all its values share one bucket for the whole run; if other values come "
            f"later, set features.{name}.boundaries: [...]"
        )
    used = boundaries + 1
    if 2 * used >= feature.buckets:
        return None
    where = "a sample of the first window" if sampled else "the first window"
    return (
        f"features.{name}: only {used} of {feature.buckets} buckets are used, because column {column} has only {used} "
        f"distinct values in {where}"
    )


def vocabulary_remark(name: str, columns: list[str], values: list) -> str | None:
    """Returns a line on a vocabulary if `values`, all values of its columns, are at most one; else None."""
    if len(values) > 1:
        return None
    has = ("columns " if columns[1:] else "column ") + ", ".join(columns) + (" have" if columns[1:] else " has")
    what = f"only the value {values[0]!r}" if values else "no value"
    every = "every other value" if values else "every value"
    return (
        f"features.{name}: {has} {what} in the first window, so {every} counts as unknown for the whole run; if other "
        f"values come later, set features.{name}.kind: hash"
    )


def _after(feature: NumericFeature) -> str:
    done = [what for what, is_done in (("log1p", feature.log1p), ("clip", feature.clip)) if is_done]
    return f", after {' and '.join(done)}" if done else ""
