"""Which batches a run's recoveries leave out, and how far they lower the learning rates. NumPy only, no files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import takewhile
from typing import Any

import numpy as np

from trainers.config import RecoveryConfig
from trainers.health.loss_watch import Batch

TO_THE_END = 2**62


class DivergedError(Exception):
    """A run diverged more often in a row than it may."""


class Diverged(Exception):  # noqa: N818  (no error: it goes from where it is found to where the run recovers)
    """The model has diverged.

    Attributes:
        why: The finding, for users.
        first: The batch at which it began; None if only the next day's metrics show it.
        last: The newest batch that was trained on.
        figures: The finding, for events.jsonl.
    """

    def __init__(self, why: str, first: Batch | None, last: Batch, figures: dict[str, Any]):
        super().__init__(why)
        self.why, self.first, self.last, self.figures = why, first, last, figures


@dataclass
class Rates:
    """The factor of the learning rates after a run's recoveries.

    Attributes:
        factor: Multiplies all learning rates.
        proven: The highest factor with which a window was in line; a higher one may be too much for this model.
        in_a_row: Recoveries since a window was whole and in line.
        calm: Windows in line since the factor last changed.
        patience: Number of calm windows that double the factor.
        raised: Whether it has been doubled since the last recovery, and no window was in line at `proven` yet.
    """

    factor: float = 1.0
    proven: float = 0.0
    in_a_row: int = 0
    calm: int = 0
    patience: int = 1
    raised: bool = False

    def fall(self, factor: float, trained: bool) -> None:
        """Notes a recovery, which multiplies the rates by `factor`.

        Args:
            factor: The factor.
            trained: Whether it goes back to a model that has been trained, and was in line.
        """
        if trained and not self.proven:
            self.proven = self.factor
        self.patience *= 2 if self.raised else 1  # The rise came too early.
        self.factor, self.in_a_row, self.calm, self.raised = self.factor * factor, self.in_a_row + 1, 0, False

    def rise(self) -> None:
        """Notes a window that was whole and in line."""
        self.proven, self.in_a_row, self.calm = max(self.proven, self.factor), 0, self.calm + 1
        if self.factor == self.proven:
            self.patience, self.raised = 1, False
        elif self.calm >= self.patience:
            self.factor, self.calm, self.raised = min(self.proven, 2 * self.factor), 0, True


class Recoveries:
    """The recoveries of a run in order: the batches that they leave out, and the factor of the learning rates.

    A recovery leaves out the batches from one before the jump to the one that made it certain; if the same window
    diverges again, the rest of the window. If only the next day's metrics show the divergence, it leaves out the
    windows since the restored checkpoint that ended on an odd day, or else the last window.

    A whole window whose next day is in line ends a row of recoveries. It also doubles the rates' factor, up to the
    factor of the last window in line before the divergence: 1, unless the config's rates were too high from the start.
    If the run diverges after such a rise, the next rise takes twice as many windows.

    The idea: Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022, section 5.1, went back about 100
    steps and left out 200 to 500 batches.

    Args:
        config: The rules.
        done: Entries of an earlier start of the run, as `done` had them.

    Attributes:
        done: In order, plain JSON values: recoveries, and {"in_line": last day} of the windows in line that matter to
            the rates.
    """

    def __init__(self, config: RecoveryConfig, done: Sequence[dict[str, Any]] = ()):
        self._config, self.done = config, list(done)

    @property
    def rate_factor(self) -> float:
        """The factor of the learning rates."""
        return self._rates.factor

    @property
    def discarded(self) -> tuple[int, int] | None:
        """The checkpoints that the newest recovery gave up: those above the first number, up to the second."""
        return (self._recoveries[-1]["restored"], self._recoveries[-1]["newest"]) if self._recoveries else None

    def numbers(self, last: date, start: int, total: int, batch_size: int = 1) -> np.ndarray:
        """Returns the batches to train of the window that ends at `last`: of start..total-1, those not left out.

        Batches of another size than at the recovery are left out if they share a row with what it left out.
        """
        kept = np.ones(total, bool)
        for recovery in self._recoveries:
            size = recovery.get("batch_size", batch_size)
            for first, end in recovery["skipped"].get(str(last), ()):
                kept[first * size // batch_size : -(-end * size // batch_size)] = False
        return start + np.flatnonzero(kept[start:])

    def add(
        self,
        diverged: Diverged,
        restored: int,
        newest: int,
        since: date | None,
        odd: Sequence[date] = (),
        batch_size: int = 1,
    ) -> dict[str, Any]:
        """Adds a recovery and returns it.

        Args:
            diverged: The divergence.
            restored: Number of the checkpoint to go back to.
            newest: Number of the newest checkpoint, which is given up with all after `restored`.
            since: Last day of the newest window that `restored` has finished; None: none.
            odd: Odd last days of the windows after it.
            batch_size: Examples of a batch.

        Raises:
            DivergedError: If the config allows no further recovery in a row.
        """
        row = self._rates.in_a_row
        again = self._recoveries[len(self._recoveries) - row :]
        if row >= self._config.most:
            here = all(recovery["restored"] == restored for recovery in again)
            where = f"from checkpoint {restored}" if here else "in a row, with no whole window in line between them"
            raise DivergedError(
                f"diverged again ({diverged.why}) after {row} recoveries {where}; events.jsonl has "
                f"each. Lower the learning rate, clip (optimizer.dense.clipping), check the days after "
                f"{since or 'the start'}, or raise recovery.most"
            )
        skipped: dict[str, list[list[int]]] = {}
        if self._config.skip_batches:
            seen = {window for recovery in again for window in recovery["skipped"]}
            skipped = _skipped(diverged, str(diverged.last.last) in seen, [day for day in odd if str(day) not in seen])
        recovery = {
            "restored": restored,
            "newest": newest,
            "skipped": skipped,
            "rate_factor": self._config.rate_factor,
            "trained": since is not None,
            "batch_size": batch_size,
        }
        self.done.append(recovery)
        return recovery

    def in_line(self, last: date) -> bool:
        """Notes that the next day's metrics are in line for the window that ends at `last`, if the rates need it.

        Returns:
            Whether it was noted.
        """
        rates, entry = self._rates, {"in_line": str(last)}
        noted = entry in takewhile(lambda done: "in_line" in done, reversed(self.done))  # Before the run was killed.
        left_out = any(str(last) in recovery["skipped"] for recovery in self._recoveries)
        if noted or left_out or not (rates.in_a_row or rates.factor < rates.proven or rates.raised):
            return False
        self.done.append(entry)
        return True

    @property
    def _rates(self) -> Rates:
        rates = Rates()
        for entry in self.done:
            if "in_line" in entry:
                rates.rise()
            else:
                rates.fall(entry["rate_factor"], entry.get("trained", False))
        return rates

    @property
    def _recoveries(self) -> list[dict[str, Any]]:
        return [entry for entry in self.done if "in_line" not in entry]


def _skipped(diverged: Diverged, again: bool, odd: Sequence[date]) -> dict[str, list[list[int]]]:
    first, last = diverged.first, diverged.last
    if first is None:
        return {str(day): [[0, TO_THE_END]] for day in odd or [last.last]}
    begin = max(0, first.number - 1)
    if first.last != last.last:
        return {str(first.last): [[begin, TO_THE_END]], str(last.last): [[0, TO_THE_END if again else last.number + 1]]}
    return {str(last.last): [[begin, TO_THE_END if again else last.number + 1]]}
