"""The training of a window: its batches, and which of them to train."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from tfstable.data.window import Arrays, Batches, Window
from trainers.config import TrainerConfig


@dataclass(frozen=True)
class Plan:
    """The training of a window.

    Attributes:
        window: The window.
        batches: Its batches; one pass has `batches.steps`.
        total: Batches to train on over all passes.
        batch_size: Examples of a batch.
    """

    window: Window
    batches: Batches
    total: int
    batch_size: int


@dataclass
class Training:
    """The window that is being trained.

    Attributes:
        plan: Its batches.
        numbers: Those that this process trains.
        began, checkpointed: When the training began, and the last checkpoint was saved; seconds of a clock.
        done: How many of `numbers` are trained.
    """

    plan: Plan
    numbers: np.ndarray
    began: float
    checkpointed: float
    done: int = 0


def plan(window: Window, batches: Batches, trainer: TrainerConfig) -> Plan:
    """Returns the plan of a window: `trainer.steps` batches, or `trainer.passes` passes."""
    total = trainer.steps or max(1, round(trainer.passes * batches.steps))
    return Plan(window, batches, total, trainer.batch_size)


def next_needed(days: Sequence[date], window: Window, trainer: TrainerConfig) -> date:
    """Returns the first day that is read again once a window is trained: by the next one, or to publish this one."""
    end = days.index(window.last)
    return days[min(end, max(0, end + trainer.stride_days + 1 - trainer.window_days))]


def stream(plans: Iterable[Plan], seed: int, numbers: Callable[[Plan], np.ndarray]) -> Generator[Arrays, None, None]:
    """Yields the batches of several windows in training order.

    Args:
        plans: The windows' plans, taken one by one.
        seed: Shuffles the rows, together with the window's last day.
        numbers: Returns the numbers of a plan's batches to train on, ascending.
    """
    for each in plans:
        wanted = numbers(each)
        if not len(wanted):
            continue
        first, chosen = int(wanted[0]), set(wanted.tolist())
        every = each.batches.forever((seed, each.window.last.toordinal()), first)
        yield from (b for n, b in zip(range(first, int(wanted[-1]) + 1), every, strict=False) if n in chosen)
