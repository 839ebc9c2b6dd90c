"""Mean and standard deviation of numbers that arrive in pieces, without cancellation."""

import numpy as np

RESOLUTION = {"float32": 2.0**-24, "int64": 2.0**-53}  # Relative rounding of a raw column's values, as doubles.


class Moments:
    """Mean and standard deviation over pieces, in float64.

    Two pieces of n and m values, with means x and y and sums of squared distances from them S and T, become

        n + m,   x + (y - x) m / (n + m),   S + T + (y - x)^2 n m / (n + m)

    Unlike E[x^2] - E[x]^2, this is accurate for values far from 0 and close together, such as times in milliseconds.

    Attributes:
        count: Values so far.
        mean: Their mean; 0 before the first value.

    Reference:
        Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0
        self._least, self._greatest = np.inf, -np.inf

    def add(self, x: np.ndarray) -> None:
        """Adds a piece, `(values,)` finite float64."""
        if not len(x):
            return
        total, mean = self.count + len(x), float(x.mean())
        distance = mean - self.mean
        self._squares += float(np.square(x - mean).sum()) + distance**2 * self.count * len(x) / total
        self.mean += distance * len(x) / total
        self.count = total
        self._least, self._greatest = min(self._least, float(x.min())), max(self._greatest, float(x.max()))

    def deviation(self, resolution: float) -> float:
        """Returns the standard deviation; 0 if the values differ by no more than their rounding.

        Args:
            resolution: Relative rounding error of the values; see `RESOLUTION`.
        """
        deviation = np.sqrt(self._squares / self.count) if self.count else 0.0
        largest = max(abs(self._least), abs(self._greatest))
        return float(deviation) if self.count and deviation > 4 * resolution * largest else 0.0

    def reach(self, resolution: float) -> float:
        """Returns the largest distance of a value from the mean, in standard deviations; 0 without variation."""
        deviation = self.deviation(resolution)
        return max(self._greatest - self.mean, self.mean - self._least) / deviation if deviation else 0.0
