"""The training loop: `train_window` of every program, and the windows of `train` in time order."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfstable.data.log import DayLog
from tfstable.data.maturity import longest
from tfstable.data.window import Arrays, Window, windows
from tfstable.errors import InputError
from tfstable.inputs.reader import Stream
from tfstable.inputs.statistics import Statistics
from trainers.build.learner import Learner
from trainers.build.shuffle import make_shuffle
from trainers.config import Config, window_keys
from trainers.devices.memory import keep_freed_memory
from trainers.devices.termination import Terminated, Termination
from trainers.health.recoveries import Diverged
from trainers.report.console import Report
from trainers.report.profiler import Profiler
from trainers.store.run_directory import RunDirectory
from trainers.store.window_record import WindowRecord
from trainers.training.infinite_values import InfiniteValues
from trainers.training.inheritance import inherit
from trainers.training.judge import Judge
from trainers.training.losses import Losses
from trainers.training.numbering import numbering
from trainers.training.plan import Plan, Training, days_read, next_needed, plan, stream
from trainers.training.publishing import Publisher
from trainers.training.recover import Recovery
from trainers.training.refitting import refit
from trainers.training.state import RunState
from trainers.training.trained_days import TrainedDays

CALL_SECONDS = 5.0  # Longest call of the graph: nothing else can happen until it returns.


class Call(NamedTuple):
    """The steps of one call of the graph.

    Attributes:
        numbers: `(steps,)` numbers of its batches in their window.
        losses: `(steps, 1 + tasks)`, the total loss and each task's.
        seconds: Wall time.
    """

    numbers: np.ndarray
    losses: np.ndarray
    seconds: float


def train_window(
    learner: Learner,
    batches: Iterator[Any],
    numbers: np.ndarray,
    total: int,
    steps_of_a_call: Callable[[int], int],
    profiler: Profiler | None = None,
) -> Iterator[Call]:
    """Trains on a window and yields after each call of the graph: the loop of `train` and of both grids.

    Whoever stops iterating stops the training. At the window's end the average of the weights takes its snapshot, and
    accumulators forget.

    Args:
        learner: The learner to train.
        batches: The dataset's iterator; its next batches have the numbers `numbers`.
        numbers: The batches to train on, ascending, counted over all passes.
        total: The window's batches over all passes, those left out included.
        steps_of_a_call: Takes the number of batches done and returns the most steps of the next call.
        profiler: Profiles a call.
    """
    keep_freed_memory()  # In each window: the first generator of tf.data undoes it.
    profiler, done = profiler or Profiler(None), 0
    while done < len(numbers):
        chosen, began = numbers[done : done + steps_of_a_call(done)], time.monotonic()
        with profiler.call():
            factors = learner.rate_factors(chosen, total)
            losses = learner.steps.train(batches, tf.constant(len(chosen)), factors).numpy()
        done += len(chosen)
        yield Call(chosen, losses, time.monotonic() - began)
    learner.optimizer.end_window()


class MovingWindow:
    """A run: trains windows in time order, evaluates each next day first, recovers, publishes.

    Args:
        config: The config.
        log: The log, checked against it.
        statistics: What was fitted on the first window.
        run: The run's directory; its newest checkpoint that can be read is restored.
        report: What the user sees.
        termination: Handles SIGTERM and Ctrl-C.
        profiler: Profiles a call.
    """

    def __init__(
        self,
        config: Config,
        log: DayLog,
        statistics: Statistics,
        run: RunDirectory,
        report: Report,
        termination: Termination | None = None,
        profiler: Profiler | None = None,
    ):
        self.config, self.log, self.statistics, self.run, self.report = config, log, statistics, run, report
        self.numbering = config  # Its keys number the batches of the windows at hand.
        self.termination, self.profiler = termination or Termination(), profiler or Profiler(None)
        self.state = RunState(config, log, statistics, run, report)
        self.termination.install_again()
        self.recovery = Recovery(config, log.days, run, self.state, report)
        self.recovery.start()
        self.infinite = InfiniteValues(run, report)
        self.days = TrainedDays(config, log, run)
        self.judge = Judge(config, log, run, self.state, self.recovery, self.infinite, report)
        self.losses = Losses(config.trainer, self.state, run, report)
        self.seconds_per_step: float | None = None  # As the last call had it.

    def train(self) -> None:
        """Trains every window of the log that the run has not trained yet, and writes all its files.

        Raises:
            InputError: If the run has trained on days that data.until holds out.
        """
        until, trained_to, state = self.config.data.until, self.trained_to(), self.state
        if until is not None and trained_to is not None and trained_to > until:
            raise InputError(
                f"data.until: {self.run.path} was trained on days to {trained_to}, after {until}; set {trained_to} or "
                "a later day, or train another --model-dir"
            )
        inherit(self.config, self.log, self.statistics, state, self.run, self.report)
        state.save_first()
        finished = False
        while not finished:
            batches: Stream[Arrays] | None = None
            try:
                self._catch_up()
                self.numbering, todo = numbering(self.config, state, self.report), self._windows()
                if begun := bool(todo) and self.numbering is not self.config:
                    todo = todo[:1]
                # One stream over all windows: the next one is read while this one is trained and evaluated.
                batches = Stream(self.stream(todo))
                iterator = iter(state.feed(batches, self.numbering.trainer.batch_size))
                for window in todo:
                    now = self._begin(window, iterator)
                    with (
                        state.reader.input_errors(),
                        self.termination.held(),
                        self.report.window(window, len(now.numbers)) as show,
                    ):
                        for call in train_window(
                            state.learner, iterator, now.numbers, now.plan.total, self._steps_of_a_call, self.profiler
                        ):
                            self._after_call(now, call, show)
                        self._end(now)
                    self._look_at_next_days(window.last, window.next_days)
                batches.close()  # Not where SIGTERM came: it must not wait for a buffer that is being read.
                finished = not begun
                if begun:
                    state.learner.retrace()
            except Diverged as diverged:
                if batches is not None:
                    batches.close()
                self.recovery.recover(diverged, self.numbering.trainer.batch_size)
        if self.config.export.when == "last" and state.position.last_day is not None:
            self.publish()

    def trained_to(self) -> date | None:
        """Returns the last day that the model has seen rows of; None if there is none."""
        last = self.state.position.last_day
        if not self.state.position.batch:
            return last
        begun = self._windows([*self.log.days, *self.log.held_out])[:1]
        return begun[0].last if begun else last

    def publish(self) -> Path | None:
        """Publishes the model as it is, once per window.

        Returns:
            The version; None if the gate refuses it.
        """
        state, last = self.state, self.state.position.last_day
        assert last is not None  # Callers publish only after a finished window.
        model, ids = state.model_to_export(), state.ids_now()
        publisher = Publisher(self.config, self.run, self.log, model, self.statistics, self.report, ids)
        version = state.agreement.decide(lambda: publisher.published(last))
        if version is None:
            predictions, exported = state.predict(last), state.exported(last)  # By every worker's part.
            judged = self.judge.before_calibration(last, predictions)
            publish = partial(publisher.publish, last, predictions, exported, judged)
            version = state.agreement.decide(lambda: self._averaged(publish))
        return None if version is None else Path(version)

    def stream(self, todo: list[Window]) -> Generator[Arrays, None, None]:
        """Returns the batches of all windows to train, from the position on."""
        # Read now: the stream runs ahead of training.
        begun = {window.last: self.state.position.batch for window in todo[:1]}
        plans = (self.plan(window) for window in todo)
        return stream(plans, self.config.trainer.seed, lambda plan: self._numbers(plan, begun.get(plan.window.last, 0)))

    def plan(self, window: Window) -> Plan:
        """Returns the plan of a window."""
        trainer, rows = self.numbering.trainer, self.numbering.data.buffer_rows
        shuffle = make_shuffle(trainer.shuffle)
        ids = cache(partial(self.state.ids_of, window))  # Not for a window that is left out: it may be over.
        fitted = self.state.moments.before(window).statistics
        days, used = days_read(self.config, self.log, window)
        batches = self.state.reader.batches(
            days, trainer.batch_size, rows, shuffle, ids=ids, statistics=fitted, used=used
        )
        return plan(window, batches, trainer)

    def _windows(self, days: Sequence[date] | None = None) -> list[Window]:
        trainer = self.config.trainer
        days = self.log.days if days is None else days
        return windows(days, trainer.window_days, trainer.stride_days, after=self.state.position.last_day)

    def _numbers(self, plan: Plan, start: int) -> np.ndarray:
        """Returns the batches of a window to train from `start` on: those that no recovery left out."""
        return self.recovery.numbers(plan.window.last, start, plan.total, plan.batch_size)

    def _catch_up(self) -> None:
        """Does what an earlier start left undone, and evaluates days that the log has gained."""
        self.days.look(self.state, self.report)
        if (last := self.state.position.last_day) is not None:
            new = tuple(day for day in self.log.days if day > last)[: self.config.trainer.stride_days]
            self._look_at_next_days(last, new, publish=not self.state.position.batch)

    def _look_at_next_days(self, last: date, next_days: tuple[date, ...], publish: bool = True) -> None:
        self.judge.look(last, next_days)
        if publish and self.config.export.when == "every_window":
            self.publish()

    def _begin(self, window: Window, iterator: Iterator[Any]) -> Training:
        state = self.state
        self.days.begin(window, state.position.last_day)
        plan = self.plan(window)
        numbers = self._numbers(plan, state.position.batch)
        self.judge.calibrate(window)
        refit(state, window, self.run, self.report)
        state.renew_ids(window)
        self.losses.begin(plan)
        if len(numbers):
            state.learner.trace(iterator)  # Takes long, and SIGTERM may end it: nothing is lost yet.
        now = time.monotonic()
        return Training(plan, numbers, began=now, checkpointed=now)

    def _after_call(self, now: Training, call: Call, show: Callable[..., None]) -> None:
        """Reports a call, and saves a checkpoint if one is due or a worker was asked to stop."""
        state, count = self.state, len(call.numbers)
        stop, seconds = state.agreement.total(self.termination.requested, call.seconds)
        self.seconds_per_step = seconds / state.agreement.workers / count
        now.done += count
        self.infinite.tell(state.reader.checks.infinite())
        show(now.done, count * now.plan.batch_size, state.iteration, call.losses)
        self.losses.look(call.numbers, call.losses)
        due = time.monotonic() - now.checkpointed > 60 * self.config.trainer.checkpoint_minutes
        if (stop or due) and now.done < len(now.numbers):
            state.save(state.position.last_day, int(call.numbers[-1]) + 1, begun=window_keys(self.numbering))
            now.checkpointed = time.monotonic()
            if stop:
                raise Terminated(self.termination.number)

    def _end(self, now: Training) -> None:
        """Records a window whose training is complete, and saves the model."""
        size, window, batches = now.plan.batch_size, now.plan.window, now.plan.batches
        seconds = time.monotonic() - now.began
        whole = self._numbers(now.plan, 0)  # Also what an earlier start of the run has trained.
        copies = batches.steps * size - batches.rows  # Rows that fill up the last batch of a pass.
        record = WindowRecord(
            window=(window.days[0], window.last),
            examples=len(whole) * size - copies * int((whole % batches.steps == batches.steps - 1).sum()),
            steps=len(whole),
            seconds=seconds,
            examples_per_second=now.done * size / seconds,
        )
        self.run.write_window(record)
        first = next_needed(self.log.days, window, self.config.trainer, longest(self.config.tasks))
        self.state.save_window(window.last, first)

    def _steps_of_a_call(self, _: int) -> int:
        if self.seconds_per_step is None:
            return 1  # The first call shows what a step takes.
        return int(np.clip(CALL_SECONDS / self.seconds_per_step, 1, self.config.trainer.steps_per_call))

    def _averaged(self, publish: Callable[[], str | None]) -> str | None:
        with self.state.learner.optimizer.averaged_weights():
            return publish()
