"""Divergence found in the losses of every step; `trainers.health.verdict` judges by the metrics of the next day.

Micro-divergence, full divergence and non-finite steps are the terms of Tang et al., "Improving Training Stability for
Multitask Ranking Models in Recommender Systems", 2023. NumPy only: it runs on the host, on losses that are read in
blocks.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from trainers.config import DivergenceConfig
from trainers.health.episode import Episode, Finding

FIRST = 10  # Steps of a run's start, and the fewest that show normal losses.
# While a run starts, a jump's factor is multiplied by this: the first step of a healthy Adagrad, whose accumulators are
# still empty, may cost twenty times the first loss.
START = 25.0
# A jump goes beyond the median by this factor of the horizon's largest excursion, on a logarithmic scale. Losses with
# heavy tails, such as squared watch times, exceed their largest so far again and again, but not by this much.
REACH = 4.0
# A jump exceeds its median by this share of the total loss. A rare task's loss is a few spikes over almost nothing, so
# less than a tenth of the total is not judged.
MATERIAL = 0.1
# The median of a whole horizon above the untrained model's loss by this factor is a drift. Days and windows change a
# loss by tens of percent, not twofold.
DRIFT = 2.0


class Detector:
    """Finds divergences in a stream of losses.

    A pure function of the losses so far: blocks of any length give the findings of one long array. For each column:

        jump     loss > max_H * jump * (1 + 10 / n),  and  y - median_H(y) > REACH * (max_H(y) - median_H(y)),  and
                 loss - median_H > MATERIAL * median_H(total);  while n < 10, loss > 25 * jump * the first loss
                 instead of the first two
        micro    within `patience` steps after the jump the median of the last `SETTLED` steps is <= q90_H
        full     it is not; or the median over a whole horizon is > DRIFT * the largest loss of the first 10 steps
                 without a jump
        nonfinite  NaN or infinite

    where H are the n <= `horizon` steps before the jump that belong to no jump themselves, and y = asinh(loss / u) with
    u = MATERIAL * median_H(total) is logarithmic for heavy tails and linear for smaller losses.

    A loss up to `harmless` is neither a jump nor a drift: the loss of a rare task is almost 0 until its first positive.

    A loss of exactly 0 means that the batch has no label for the task, so nothing is known. Steps whose total lacks
    a task are not compared with one that has it.

    Args:
        config: The rules.
        tasks: Names of the tasks, in the order of the columns.
        harmless: `(1 + tasks,)`, the losses of an uninformed model; None: zeros.
    """

    def __init__(self, config: DivergenceConfig, tasks: Iterable[str], harmless: Sequence[float] | None = None) -> None:
        self._config, self._columns = config, ["loss", *tasks]
        self._harmless = np.zeros(len(self._columns)) if harmless is None else np.asarray(harmless, np.float64)
        self._history = np.empty((0, len(self._columns)))  # The last steps; NaN where a column was in an episode.
        self._steps: list[int] = []  # Their numbers.
        self._first: list[list[float]] = []  # The first rows without a jump.
        self._episodes: dict[int, Episode] = {}  # By column, the jumps that have not come back.

    def update(self, losses: np.ndarray, first_step: int) -> list[Finding]:
        """Takes the next block and returns the findings that it makes certain, in the order of the steps.

        Args:
            losses: `(steps, 1 + tasks)`: the total, then each task's, as `Steps.train` returns them.
            first_step: Number of the block's first step, counted over the whole run.
        """
        findings = []
        for step, row in enumerate(np.asarray(losses, np.float64), first_step):
            findings += self._step(step, row)
        return findings

    @property
    def jumped_at(self) -> int | None:
        """First step of the oldest jump that has not come back; None without one."""
        return min((episode.first for episode in self._episodes.values()), default=None)

    def state(self) -> dict[str, Any]:
        """Returns the detector's state as plain JSON values."""
        return {
            "steps": list(self._steps),
            "history": _listed(self._history),
            "first": _listed(np.array(self._first)),
            "episodes": {str(column): asdict(episode) for column, episode in self._episodes.items()},
        }

    @classmethod
    def restored(
        cls,
        config: DivergenceConfig,
        tasks: Iterable[str],
        state: dict[str, Any],
        harmless: Sequence[float] | None = None,
    ) -> "Detector":
        """Returns a detector that continues from a `state()`."""
        detector = cls(config, tasks, harmless)
        detector._steps = list(state["steps"])
        detector._history = np.array(state["history"], np.float64).reshape(-1, len(detector._columns))  # None is NaN.
        detector._first = np.array(state["first"], np.float64).reshape(-1, len(detector._columns)).tolist()
        detector._episodes = {int(column): Episode(**episode) for column, episode in state["episodes"].items()}
        return detector

    def _step(self, step: int, row: np.ndarray) -> list[Finding]:
        findings, labelled = [], row != 0
        normal = np.where(labelled, row, math.nan)  # The losses of this step that later steps are compared with.
        history = self._comparable(labelled)
        for column in self._jumped(row, history):
            if column not in self._episodes and labelled[column]:
                self._episodes[column] = self._begin(step, column, history)
        for column, episode in list(self._episodes.items()):
            normal[column] = math.nan
            if labelled[column]:
                findings += episode.follow(step, self._columns[column], float(row[column]), self._config.patience)
                if episode.is_over:
                    del self._episodes[column]
        self._remember(step, normal)
        findings += self._drifted(step)
        return findings

    def _comparable(self, labelled: np.ndarray) -> np.ndarray:
        """Returns the history without the totals that lack a task of this step."""
        asked = [column for column in range(1, len(self._columns)) if labelled[column] and column not in self._episodes]
        lacking = np.isnan(self._history[:, asked]).any(axis=1)
        if not lacking.any():
            return self._history
        history = self._history.copy()
        history[lacking, 0] = math.nan
        return history

    def _jumped(self, row: np.ndarray, history: np.ndarray) -> list[int]:
        """Returns the columns that jump in this step."""
        config, n = self._config, len(history)
        if n == 0:
            return np.flatnonzero(~np.isfinite(row)).tolist()
        # While a run starts, the only row to compare with is its first one, the untrained model's.
        starts = n < FIRST
        highest = history[0] if starts else np.fmax.reduce(history)  # (columns,), NaN where not known
        usual = np.maximum(highest + (config.jump - 1) * np.abs(highest), self._harmless)
        suspects = ~np.isfinite(row) | (row > usual)
        if not suspects.any():  # Nearly every step ends here, at the cost of one maximum.
            return []
        total = _known(history[:, 0])
        unit = MATERIAL * abs(_median(total))
        return [
            c
            for c in np.flatnonzero(suspects).tolist()
            if self._is_jump(row[c], history[:, c], highest[c], unit, starts)
        ]

    def _is_jump(self, loss: float, history: np.ndarray, highest: float, unit: float, starts: bool) -> bool:
        if not math.isfinite(loss):
            return True
        known = _known(history)
        if not loss - _median(known) > unit:  # Nor while the total is in an episode, and its median NaN.
            return False
        if starts:
            return loss > highest + (START * self._config.jump - 1) * abs(highest)
        if len(known) < FIRST:  # It has just come back from another jump.
            return False
        scale = max(unit, float(np.finfo(np.float32).tiny))
        middle, furthest = np.quantile(np.arcsinh(known / scale), [0.5, 1.0])
        return loss > highest + (self._config.jump * (1 + FIRST / len(known)) - 1) * abs(highest) and np.arcsinh(
            loss / scale
        ) - middle > REACH * (furthest - middle)

    def _begin(self, step: int, column: int, history: np.ndarray) -> Episode:
        known = _known(history[:, column])
        median = q90 = threshold = None
        if len(known):
            median, q90, highest = np.quantile(known, [0.5, 0.9, 1.0]).tolist()
            threshold = highest + (self._config.jump - 1) * abs(highest)
            if len(known) < FIRST:  # Too few to know how far they reach.
                q90 = threshold
        return Episode(step, step, median, q90, threshold)

    def _remember(self, step: int, row: np.ndarray) -> None:
        if len(self._first) < FIRST and np.isfinite(row).all():
            self._first.append(row.tolist())
        keep = self._config.horizon - 1
        self._steps = [*self._steps[-keep:], step]
        self._history = np.concatenate([self._history[-keep:], row[None]])

    def _drifted(self, step: int) -> list[Finding]:
        """Finds columns whose whole horizon is worse than the untrained model; looks once per horizon."""
        config = self._config
        if len(self._history) < config.horizon or len(self._first) < FIRST or step % config.horizon:
            return []
        findings = []
        untrained = np.fmax.reduce(np.array(self._first))  # (columns,): the largest of the first steps
        total = _median(self._history[:, 0])
        for column, name in enumerate(self._columns):
            before, now = float(untrained[column]), _median(self._history[:, column])
            # Comparisons with NaN, where nothing is known, are false.
            worse = now - before > max((DRIFT - 1) * abs(before), MATERIAL * abs(total))
            if column not in self._episodes and worse and now > self._harmless[column]:
                episode = replace(
                    self._begin(self._steps[0], column, self._history), full=True, median=before, q90=before
                )
                self._episodes[column] = episode
                figures = episode.figures("drift", now)
                findings.append(Finding("full_divergence", name, self._steps[0], step, figures))
        return findings


def _known(column: np.ndarray) -> np.ndarray:
    return column[np.isfinite(column)]


def _median(values: np.ndarray) -> float:
    known = _known(values)
    return float(np.median(known)) if len(known) else math.nan


def _listed(rows: np.ndarray) -> list[list[float | None]]:
    return [[value if math.isfinite(value) else None for value in row] for row in rows.tolist()]
