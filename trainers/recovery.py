"""What a run does about its own divergence: back to a model known to be good, and on by another way."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from tfstable.files import FORMAT, read_json, write_json
from trainers.divergence_config import RecoveryConfig
from trainers.loss_watch import Batch
from trainers.run_directory import RunDirectory

TO_THE_END = 2**62


class DivergedError(Exception):
    """A run diverged more often than it may."""


class Diverged(Exception):  # noqa: N818  (no error: it carries the news from where it is found to where it is mended)
    """The model has diverged.

    Attributes:
        why: What was found, for people.
        first: The batch at which it began; None if only the next day's metrics show it.
        last: The newest batch that was trained on.
        figures: What was found, for events.jsonl.
    """

    def __init__(self, why: str, first: Batch | None, last: Batch, figures: dict[str, Any]):
        super().__init__(why)
        self.why, self.first, self.last, self.figures = why, first, last, figures


class Recovery:
    """The recoveries of a run, in MODEL_DIR/recovery.json: batches that are left out, and the rate's factor.

    The batches that did it are those from one before the jump to the one where it was certain; where the same window
    diverges again, and where only the next day's metrics show it, they are the rest of the window, or all of it.

    The idea: Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022, section 5.1, went back about 100
    steps and left out 200 to 500 batches.

    Args:
        config: What to do.
        run: The run's directory.
    """

    def __init__(self, config: RecoveryConfig, run: RunDirectory):
        self._config, self._run, self._path = config, run, run.path / "recovery.json"
        self._done: list[dict[str, Any]] = []
        if self._path.exists():
            remedy = "restore it from a backup, or start the run anew with --fresh"
            self._done = read_json(self._path, remedy)["recoveries"]

    @property
    def rate_factor(self) -> float:
        """By what the learning rates are multiplied."""
        return float(np.prod([recovery["rate_factor"] for recovery in self._done]))

    @property
    def discarded(self) -> tuple[int, int] | None:
        """The checkpoints that the newest recovery gave up: those above the first number, up to the second."""
        return (self._done[-1]["restored"], self._done[-1]["newest"]) if self._done else None

    def numbers(self, last: date, start: int, total: int) -> np.ndarray:
        """Returns the batches to train of the window that ends at `last`: of start..total-1, those not left out."""
        kept = np.ones(total, bool)
        for recovery in self._done:
            for first, end in recovery["skipped"].get(str(last), ()):
                kept[first:end] = False
        return start + np.flatnonzero(kept[start:])

    def add(self, diverged: Diverged, restored: int, newest: int, since: date | None) -> Mapping[str, Any]:
        """Notes a recovery, before it is carried out; returns it.

        Args:
            diverged: What was found.
            restored: Number of the checkpoint to go back to.
            newest: Number of the newest checkpoint, which is given up with all after `restored`.
            since: Last day of the newest window that `restored` has finished; None: none.

        Raises:
            DivergedError: If there have been as many recoveries from `restored` as the config allows.
        """
        again = [recovery for recovery in self._done if recovery["restored"] == restored]
        if len(again) >= self._config.most:
            raise DivergedError(
                f"{self._run.path}: diverged again ({diverged.why}) after {len(again)} recoveries from checkpoint "
                f"{restored}; events.jsonl has each. Lower the learning rate, clip (optimizer.dense.clipping), look at "
                f"the days after {since or 'the start'}, or raise recovery.most"
            )
        skipped: dict[str, list[list[int]]] = {}
        if self._config.skip_batches:
            seen = {window for recovery in again for window in recovery["skipped"]}
            skipped = _skipped(diverged, str(diverged.last.last) in seen)
        recovery = {
            "restored": restored,
            "newest": newest,
            "skipped": skipped,
            "rate_factor": self._config.rate_factor,
        }
        self._done = [*self._done, recovery]
        if self._run.writable:
            write_json(self._path, {"format": FORMAT, "recoveries": self._done})
        return recovery


def _skipped(diverged: Diverged, again: bool) -> dict[str, list[list[int]]]:
    first, last = diverged.first, diverged.last
    if first is None:
        return {str(last.last): [[0, TO_THE_END]]}
    begin = max(0, first.number - 1)
    if first.last != last.last:
        return {str(first.last): [[begin, TO_THE_END]], str(last.last): [[0, TO_THE_END if again else last.number + 1]]}
    return {str(last.last): [[begin, TO_THE_END if again else last.number + 1]]}
