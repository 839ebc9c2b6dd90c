"""A jump of a loss, followed until it is certain whether the loss came back."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Steps whose median must be back among the usual losses. One lucky batch does not end a divergence, and ten are few
# against any patience.
SETTLED = 10
BEYOND = 1e300  # Stands for a loss that is not finite: JSON has it, and medians can be taken of it.


@dataclass(frozen=True)
class Finding:
    """A finding of the detector, once it is certain.

    Attributes:
        kind: "micro_divergence": the loss jumped and came back. "full_divergence": it stayed up. "nonfinite": it is NaN
            or infinite.
        column: "loss" for the total, or the task's name.
        first_step: The step at which it began.
        last_step: The last step above the threshold; of a full divergence, the step at which it was certain.
        figures: The rule that found it and the numbers that it compared, for reports.
    """

    kind: str
    column: str
    first_step: int
    last_step: int
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Episode:
    """A column's loss since it jumped.

    Attributes:
        first: The step of the jump.
        last: The last step above `threshold`.
        median: Median of the column before the jump; None, like `q90` and `threshold`, where nothing was known.
        q90: Its 90% quantile: the loss has come back when it is below.
        threshold: The loss from which on a step counts as part of the jump.
        peak: The largest finite loss; None so far.
        nonfinite: Whether a loss was not finite, which has been reported.
        full: Whether it is a full divergence, which has been reported.
        recent: The last `SETTLED` losses.
    """

    first: int
    last: int
    median: float | None
    q90: float | None
    threshold: float | None
    peak: float | None = None
    nonfinite: bool = False
    full: bool = False
    recent: list[float] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether the loss has come back among the usual ones."""
        usual = math.inf if self.q90 is None else self.q90
        return len(self.recent) == SETTLED and max(self.recent) < BEYOND and self._median() <= usual

    def follow(self, step: int, column: str, loss: float, patience: int) -> list[Finding]:
        """Takes the loss of one more step and returns the findings that it makes certain."""
        findings, finite = [], math.isfinite(loss)
        if not finite or self.threshold is None or loss > self.threshold:
            self.last = step
        if finite:
            self.peak = loss if self.peak is None else max(self.peak, loss)
        elif not self.nonfinite:
            self.nonfinite = True
            findings.append(Finding("nonfinite", column, step, step, self.figures("nonfinite", None)))
        self.recent = [*self.recent, loss if finite else BEYOND][-SETTLED:]
        if self.is_over:
            if not (self.nonfinite or self.full):  # Else it has been reported.
                figures = self.figures("jump", self._median())
                findings.append(Finding("micro_divergence", column, self.first, self.last, figures))
        elif not self.full and step - self.first >= patience:
            self.full = True
            figures = self.figures("no recovery", self._median())
            findings.append(Finding("full_divergence", column, self.first, step, figures))
        return findings

    def figures(self, rule: str, now: float | None) -> dict[str, Any]:
        """Returns the figures of a finding by `rule`, when the median of the last losses is `now`."""
        return {
            "rule": rule,
            "median": self.median,
            "q90": self.q90,
            "threshold": self.threshold,
            "peak": self.peak,
            "now": now,
        }

    def _median(self) -> float:
        return float(np.median(self.recent))
