"""A calibration map: piecewise linear from logits to logits. NumPy only."""

from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 32  # Knots that a model has room for.


@dataclass(frozen=True)
class Knots:
    """A map that is linear between its knots and has the slope 1 beyond them.

    Attributes:
        x: `(knots,)` float64, logits, increasing; at least one.
        y: `(knots,)` float64, the calibrated logits, increasing.
    """

    x: np.ndarray
    y: np.ndarray

    @classmethod
    def identity(cls) -> "Knots":
        """Returns the map that changes nothing."""
        return cls(np.zeros(1), np.zeros(1))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Returns the calibrated logits, in the shape of `logits`."""
        inside = np.clip(logits, self.x[0], self.x[-1])
        return np.interp(inside, self.x, self.y) + (logits - inside)

    def packed(self) -> np.ndarray:
        """Returns what a model's variable holds, `(3, MOST)` float64: x, y, and the slope from each knot to the next.

        The last knot repeats itself.
        """
        x, y = (np.pad(values, (0, MOST - len(values)), mode="edge") for values in (self.x, self.y))
        width, rise = np.diff(x, append=x[-1]), np.diff(y, append=y[-1])
        return np.stack([x, y, np.where(width > 0, rise / np.where(width > 0, width, 1.0), 0.0)])

    @classmethod
    def unpacked(cls, packed: np.ndarray) -> "Knots":
        """Returns the map of a `packed`."""
        x, y = (np.asarray(values, np.float64) for values in packed[:2])
        known = np.diff(x, prepend=-np.inf) > 0
        return cls(x[known], y[known])

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON."""
        return {"x": self.x.tolist(), "y": self.y.tolist()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Knots":
        """Returns the map of a `to_json`."""
        return cls(np.asarray(stored["x"], np.float64), np.asarray(stored["y"], np.float64))
