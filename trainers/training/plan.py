"""The training of a window: its batches, and which of them to train."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from tfstable.data.log import DayLog
from tfstable.data.maturity import UsedLabels, labels_used, longest
from tfstable.data.window import Arrays, Batches, Window
from trainers.config import Config, TrainerConfig


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


def days_read(config: Config, log: DayLog, window: Window) -> tuple[tuple[date, ...], UsedLabels | None]:
    """Returns the days whose rows a window trains, in order, and the labels that it uses of each; None: all."""
    if not longest(config.tasks):
        return window.days, None
    used = labels_used(window, config.tasks, log.days)
    return tuple(used.tasks_of), used


def next_needed(days: Sequence[date], window: Window, trainer: TrainerConfig, maturing: int = 0) -> date:
    """Returns the first day that is read again once a window is trained: by the next one, or to publish this one.

    Args:
        days: The days of the log.
        window: The window.
        trainer: The config's trainer section.
        maturing: The most days that labels take to mature.
    """
    end = days.index(window.last)
    first = days[min(end, max(0, end + trainer.stride_days + 1 - trainer.window_days))]
    return min([first, *(day for day in days if maturing and day > window.last - timedelta(maturing))])


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
