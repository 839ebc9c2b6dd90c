"""What a user should know of the first window before training: features that it says nothing of, and why.

A feature that has no value in the first window, or one alone, cannot be fitted. It is held where it does no harm, for
the whole run, and a line says so.
"""

import numpy as np
import pyarrow as pa

from tfstable.data.columns import RawColumn
from tfstable.data.types import cast
from tfstable.inputs.moments import RESOLUTION, Moments
from tfstable.specs import NumericFeature, QuantileFeature

REACH = 100  # Standard deviations from its mean that a number may go without a remark.


class Seen:
    """What was seen of a column of numbers: its nulls, its span, and what float32 does to it."""

    def __init__(self) -> None:
        self.missing, self.least, self.greatest = 0, np.inf, -np.inf
        self._exact, self._rounding = Moments(), Moments()

    def add(self, x: np.ndarray, array: pa.ChunkedArray, column: RawColumn) -> None:
        """Adds a piece.

        Args:
            x: `(rows,)` float64, rounded as the model sees it; NaN where missing.
            array: The same as the log has it.
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
        """Whether there is a value."""
        return self.least <= self.greatest

    def lost(self, column: str) -> str | None:
        """Returns a clause that says so if float32 does not tell the column's values apart."""
        deviation = self._exact.deviation(RESOLUTION["int64"])
        if not np.hypot(self._rounding.mean, self._rounding.deviation(0.0)) > 0.1 * deviation > 0:
            return None
        return (
            f"column {column} varies by {deviation:.2g} around {self._exact.mean:.4g} in the first window, which "
            "float32 cannot tell apart; subtract an offset or rescale it in the log"
        )

    def constant(self, column: str) -> str | None:
        """Returns a clause that says so if the column has no value, or one alone."""
        if not self.known:
            return f"column {column} has no value in the first window"
        if self.least == self.greatest:
            return f"column {column} has only the value {self.least:g} in the first window"
        return None


def numeric_remark(name: str, feature: NumericFeature, column: str, seen: Seen, reach: float) -> str | None:
    """Returns a line on a numeric feature that nothing can be fitted on, or whose scale a few values make, or None.

    Args:
        name, feature, column: The feature.
        seen: What was seen of its column.
        reach: Standard deviations that its values go from their mean, after log1p and clip; 0: they do not vary.
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
            f"features.{name}: column {column} goes {reach:.0f} standard deviations from its mean in the first "
            f"window{_after(feature)}; set features.{name}.{keys}, or kind: quantile"
        )
    if reach:
        return None
    constant = constant or f"column {column} does not vary in the first window{_after(feature)}"
    null = ""
    if seen.known and seen.missing and feature.missing is None:
        null = f", or, if its nulls mean something, features.{name}.missing"
    return (
        f"features.{name}: {constant}, so it is held at 0 for the whole run; for values that come later set "
        f"features.{name}.moments: [mean, deviation]{null}"
    )


def quantile_remark(
    name: str, feature: QuantileFeature, column: str, seen: Seen, boundaries: int, sampled: bool
) -> str | None:
    """Returns a line on a quantile feature that uses less than half of its buckets, or None.

    Args:
        name, feature, column: The feature.
        seen: What was seen of its column.
        boundaries: How many it came out with.
        sampled: Whether they were found from a sample of the column.
    """
    if lost := seen.lost(column):
        return f"features.{name}: {lost}"
    if constant := seen.constant(column):
        return (
            f"features.{name}: {constant}, so all its values share one bucket for the whole run; for values that come "
            f"later set features.{name}.boundaries: [...]"
        )
    used = boundaries + 1
    if 2 * used >= feature.buckets:
        return None
    where = "a sample of the first window" if sampled else "the first window"
    return (
        f"features.{name}: {used} of its {feature.buckets} buckets are used, for column {column} has only {used} "
        f"different values in {where}"
    )


def vocabulary_remark(name: str, columns: list[str], values: list) -> str | None:
    """Returns a line on a vocabulary whose columns have these values, if that is at most one, or None."""
    if len(values) > 1:
        return None
    has = ("columns " if columns[1:] else "column ") + ", ".join(columns) + (" have" if columns[1:] else " has")
    what = f"only the value {values[0]!r}" if values else "no value"
    every = "every other value" if values else "every value"
    return (
        f"features.{name}: {has} {what} in the first window, so {every} counts as unknown for the whole run; for "
        f"values that come later set features.{name}.kind: hash"
    )


def _after(feature: NumericFeature) -> str:
    done = [what for what, is_done in (("log1p", feature.log1p), ("clip", feature.clip)) if is_done]
    return f", after {' and '.join(done)}" if done else ""
