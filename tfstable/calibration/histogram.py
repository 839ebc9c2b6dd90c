"""The histogram of a task's logits: per bin, sums over its rows from which a calibration map is fitted. NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfstable.specs import RegressionTask, TaskSpec

BINS = 256  # Of equal width between the edges; two more hold what is beyond them.
_LIMIT = 16.0  # Of a logit, and of the logarithm of a regression's label.
# Labels that are not transformed: bins grow in proportion to |logit| above 0.01, up to 1e9.
_SMALLEST, _LARGEST = 1e-2, 1e9
COLUMNS = 6


@dataclass(frozen=True)
class Histogram:
    """Sums over the rows of each bin of the logit.

    Attributes:
        sums: `(BINS + 2, 6)` float64, per bin the sums of

                w, w x, w y, w^2, w^2 y, w^2 y^2

            for weights w, logits x, and labels y in their own units. The last three give the noise of the third.
    """

    sums: np.ndarray

    @classmethod
    def empty(cls) -> "Histogram":
        """Returns a histogram without a row."""
        return cls(np.zeros((BINS + 2, COLUMNS)))

    @classmethod
    def of(cls, task: TaskSpec, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> "Histogram":
        """Returns the histogram of some rows.

        Args:
            task: The task; its bins do not depend on data.
            logits: `(rows,)` floats, before any calibration. Rows whose logit is not finite do not count.
            labels: `(rows,)` floats; NaN masks a row.
            weights: `(rows,)` floats, at least 0.
        """
        x, y, w = (np.asarray(values, np.float64) for values in (logits, labels, weights))
        counted = np.isfinite(x) & ~np.isnan(y) & (w > 0)
        x, y, w = x[counted], y[counted], w[counted]
        bins = np.clip(np.floor(_place(task, x) * BINS).astype(np.int64) + 1, 0, BINS + 1)  # (rows,)
        values = (w, w * x, w * y, w**2, w**2 * y, (w * y) ** 2)
        return cls(np.stack([np.bincount(bins, each, BINS + 2) for each in values], axis=1))

    def decayed(self, factor: float) -> "Histogram":
        """Returns the histogram of the same rows with their weights times `factor`."""
        return Histogram(self.sums * np.array([factor] * 3 + [factor**2] * 3))

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(self.sums + other.sums)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON: the bins that are not empty."""
        filled = np.flatnonzero(self.sums[:, 0])
        return {"bins": filled.tolist(), "sums": self.sums[filled].tolist()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Sequence[Any]]) -> "Histogram":
        """Returns the histogram of a `to_json`."""
        found = cls.empty()
        if stored["bins"]:
            found.sums[np.asarray(stored["bins"])] = stored["sums"]
        return found


def _place(task: TaskSpec, logits: np.ndarray) -> np.ndarray:
    """The place of each logit among the edges: 0 at the first, 1 at the last."""
    scaled, limit = logits, _LIMIT
    if isinstance(task, RegressionTask) and task.transform == "none":
        scaled, limit = np.arcsinh(logits / _SMALLEST), float(np.arcsinh(_LARGEST / _SMALLEST))
    return np.clip((scaled / limit + 1) / 2, -1.0, 2.0)
