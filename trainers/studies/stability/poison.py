"""One bad batch in a run, and how long the run suffers from it."""

from collections.abc import Generator, Iterator, Sequence

import numpy as np

from tfstable.data.window import Arrays
from tfstable.inputs.layout import Layout
from trainers.studies.stability.config import PoisonConfig

MEDIAN_STEPS = 10  # One lucky batch is no recovery.
RECOVERED = 1.01  # A loss of 1% above the healthy twin's is a difference in AUC of about the noise between seeds.


def poisoned(
    batches: Iterator[Arrays], layout: Layout, binary: Sequence[str], poison: PoisonConfig
) -> Generator[Arrays, None, None]:
    """Yields a run's packed batches, one of them bad.

    Args:
        batches: The healthy ones.
        layout: How they are packed.
        binary: The binary tasks, whose labels are inverted.
        poison: Which batch, and how bad it is.
    """
    columns = [layout.label_column(task) for task in binary]
    for number, batch in enumerate(batches):
        if number == poison.step:
            labels = batch["numbers"].copy()
            labels[:, columns] = 1 - labels[:, columns]  # NaN stays NaN.
            batch = {**batch, "numbers": labels, "weight": batch["weight"] * np.float32(poison.weight)}
        yield batch


def steps_to_recover(losses: np.ndarray, healthy: np.ndarray, step: int) -> int | None:
    """Returns the steps after a bad batch until the loss is within 1% of the healthy twin's; None if it never is.

    The twin has trained on the same batches, but for the bad one. What counts is the median of the ratio of both losses
    over 10 steps, the last of which is the step returned.

    Args:
        losses: `(steps,)` total losses.
        healthy: The twin's. Either is shorter if that run was stopped; the steps that both have count.
        step: The step that trained on the bad batch.
    """
    with np.errstate(all="ignore"):
        both = min(len(losses), len(healthy))
        ratios = losses[step + 1 : both] / healthy[step + 1 : both]
    for end in range(MEDIAN_STEPS, len(ratios) + 1):
        if np.median(ratios[end - MEDIAN_STEPS : end]) <= RECOVERED:
            return end
    return None
