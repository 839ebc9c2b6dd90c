"""Permutation importance: what the metric of a task loses when some inputs of the rows are exchanged between them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Inputs = Mapping[str, np.ndarray]  # By feature, `(rows, ...)`.


class Loss(NamedTuple):
    """What a metric loses.

    Attributes:
        loss: Above 0 if the metric gets worse.
        se: Its standard error.
    """

    loss: float
    se: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval."""
        return self.loss - 1.959964 * self.se, self.loss + 1.959964 * self.se


def permutation_importance(
    predict: Callable[[Inputs], Mapping[str, np.ndarray]],
    inputs: Inputs,
    groups: Mapping[str, Sequence[str]],
    losses: Mapping[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]],
    *,
    repeats: int = 3,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[str, dict[str, Loss]]:
    """Measures how much each group of features matters to each task, on rows that the model was not trained on.

        loss_g = 1/R sum_r M(y, f(x)) - M(y, f(x with the features of g from row pi_r(i) in row i)),   pi_r random

    The features of a group keep together: each row gets all of them from one other row. Of two features that say the
    same each covers for the other, so both seem to matter little: put them in one group.

    Args:
        predict: Returns predictions by task, `(rows,)`, from inputs.
        inputs: The rows' inputs.
        groups: Features by group.
        losses: By task: takes predictions before and after, and returns the loss of the metric and its standard error,
            paired over the rows.
        repeats: R, permutations per group, at least 1.
        seed: Seed of the permutations.
        progress: Called with the predictions done, all of them, and the group.

    Returns:
        By group and task. The standard error is the root of the mean square of the R paired errors: it covers the
        draw of the rows and, more than once, that of the permutation.

    Raises:
        ValueError: If `repeats` is below 1.

    Reference:
        Breiman, "Random Forests", 2001; groups: Au et al., "Grouped Feature Importance", 2022.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    rows, total = len(next(iter(inputs.values()))), 1 + repeats * len(groups)
    progress(0, total, "as it is")
    before, generator, done = predict(inputs), np.random.default_rng(seed), 1
    found = {}
    for group, features in groups.items():
        drawn: dict[str, list[tuple[float, float]]] = {task: [] for task in losses}
        for _ in range(repeats):
            progress(done, total, f"permuting {group}")
            order = generator.permutation(rows)
            after = predict({**inputs, **{name: inputs[name][order] for name in features}})
            for task, loss in losses.items():
                drawn[task].append(loss(before[task], after[task]))
            done += 1
        found[group] = {task: _mean(each) for task, each in drawn.items()}
    progress(total, total, "permuted")
    return found


def _mean(drawn: Sequence[tuple[float, float]]) -> Loss:
    losses, errors = np.transpose(drawn)
    return Loss(float(losses.mean()), float(np.sqrt(np.mean(np.square(errors)))))
