"""The detector along a run: names the window and the batch of each finding."""

import math
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tfstable.specs import BinaryTask, TaskSpec, labelled
from trainers.config import DivergenceConfig
from trainers.health.detector import Detector
from trainers.health.episode import Finding


class Batch(NamedTuple):
    """A batch of a run: the window that ends at `last`, and the batch's number in it, counted over all passes."""

    last: date
    number: int


class LossWatch:
    """Follows the losses of a run with a `Detector`.

    Steps are counted over all windows: a step's number is its batch's number plus the batches of the windows before.
    Batches that a recovery leaves out count too.

    Args:
        config: The detector's rules.
        tasks: Their specs by name.
        state: Result of `state` at a checkpoint; None for a new run.

    Attributes:
        jumped: Whether a loss has jumped since the run began, or since `jumped` was last set to False.
    """

    KEPT = 50  # Windows whose place is remembered: a finding reaches back over a horizon and the detector's patience.

    def __init__(
        self, config: DivergenceConfig, tasks: Mapping[str, TaskSpec], state: dict[str, Any] | None = None
    ) -> None:
        self._windows: list[list[Any]] = []  # [its first step, its steps, its last day]
        self.jumped = False
        tasks = {name: tasks[name] for name in labelled(tasks)}
        # Cross-entropy of a coin, in nats. A regression has no such figure: its loss depends on the labels.
        of_task = [math.log(2) if isinstance(task, BinaryTask) else 0.0 for task in tasks.values()]
        total = sum(loss * task.weight for loss, task in zip(of_task, tasks.values(), strict=True))
        self._weights = [task.weight for task in tasks.values()]
        self._detector = Detector(config, tasks, [total, *of_task])
        if state is not None:
            self._windows, self.jumped = [list(window) for window in state["windows"]], state["jumped"]
            if state.get("weights", self._weights) == self._weights:  # Else the total loss is on another scale now.
                self._detector = Detector.restored(config, tasks, state["detector"], [total, *of_task])

    def begin(self, last: date, steps: int) -> None:
        """Begins or continues the window that ends at `last`."""
        if not self._windows or self._windows[-1][2] != str(last):
            start = sum(self._windows[-1][:2]) if self._windows else 0
            self._windows = [*self._windows, [start, steps, str(last)]][-self.KEPT :]

    def update(self, numbers: np.ndarray, losses: np.ndarray) -> list[Finding]:
        """Takes the losses of the window's batches `numbers`, ascending, and returns the findings.

        Args:
            numbers: `(steps,)`.
            losses: `(steps, 1 + tasks)`.
        """
        findings, edges = [], [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1), len(numbers)]
        for start, end in pairwise(edges):
            findings += self._detector.update(losses[start:end], self._windows[-1][0] + int(numbers[start]))
        self.jumped |= bool(findings) or self._detector.jumped_at is not None
        return findings

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step."""
        start, _, last = next((w for w in reversed(self._windows) if w[0] <= step), self._windows[0])
        return Batch(date.fromisoformat(last), max(0, step - start))

    def state(self) -> dict[str, Any]:
        """Returns the state for a checkpoint, as plain JSON values."""
        return {
            "detector": self._detector.state(),
            "windows": self._windows,
            "jumped": self.jumped,
            "weights": self._weights,
        }
