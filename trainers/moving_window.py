"""Sequential training on a moving window of days, each day evaluated before it is trained on."""

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfstable.data.log import DayLog
from tfstable.data.window import Arrays, Batches, Window, windows
from tfstable.sharpness import SharpnessProbe
from tfstable.statistics import Statistics
from trainers.config import Config
from trainers.divergence import evaluation_diverged
from trainers.evaluation import evaluate
from trainers.first_window import fit_statistics
from trainers.infinite_values import InfiniteValues
from trainers.loss_watch import Batch
from trainers.memory import keep_freed_memory
from trainers.profiler import Profiler
from trainers.publishing import Publisher
from trainers.recovery import Diverged, Recovery
from trainers.report import Report
from trainers.run_directory import RunDirectory
from trainers.run_state import RunState
from trainers.shuffle import make_shuffle
from trainers.termination import Terminated, Termination

__all__ = ["MovingWindow", "fit_statistics"]

CALL_SECONDS = 5.0  # What a call of the graph should take at most: until it returns, nothing else can happen.
EARLIER_DAYS = 10  # Evaluations that a day's metrics are judged by.


class MovingWindow:
    """A run: trains windows in time order, evaluates, recovers, publishes.

    Args:
        config: The config.
        log: The log, checked against it.
        statistics: What was fitted on the first window.
        run: The run's directory; its newest checkpoint that can be read is restored.
        report: What the user sees.
        termination: What SIGTERM does.
        profiler: What profiles a call.
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
        self.termination, self.profiler = termination or Termination(), profiler or Profiler(None)
        self.state = RunState(config, log, statistics, run, report)
        self.termination.install_again()
        self.recovery = Recovery(config.recovery, run)
        self.infinite = InfiniteValues(run, report)
        self._go_back(None)
        self.sharpness = SharpnessProbe(self.state.model, self.state.optimizer)
        self.seconds_per_step: float | None = None  # As the last call had it.

    def train(self):
        """Trains every window that the log has and the run has not, and leaves all its files behind."""
        if self.state.agreement.of_chief(self.state.saved is None):
            self.state.save(None, 0, good=True)  # What there is to go back to, until a day's metrics are in line.
        while True:
            try:
                self._train_to_the_end()
                return
            except Diverged as diverged:
                self._recover(diverged)

    def publish(self) -> Path | None:
        """Publishes the model as it is, once a window; returns its version, or None if it is refused, or to workers."""
        state, last = self.state, self.state.position.last_day
        publisher = Publisher(self.config, self.run, self.log, state.model_to_export(), self.statistics, self.report)
        published = publisher.published(last) if self.run.writable else None
        if state.agreement.of_chief(published is not None):
            return published
        predictions = state.predict(last)  # By every worker's part.
        if not self.run.writable:
            return None
        with state.optimizer.averaged_weights():
            return publisher.publish(last, predictions)

    def stream(self, todo: list[Window]) -> Iterator[Arrays]:
        """Yields the batches of all windows to train, from the position on."""
        start = self.state.position.batch
        for window in todo:
            batches, total = self.plan(window)
            wanted = set(self.recovery.numbers(window.last, start, total).tolist())
            if not wanted:
                start = 0
                continue
            every = batches.forever((self.config.trainer.seed, window.last.toordinal()), start)
            yield from (batch for number, batch in zip(range(start, total), every, strict=False) if number in wanted)
            start = 0

    def plan(self, window: Window) -> tuple[Batches, int]:
        """Returns the batches of a window and how many of them, over all passes, to train on."""
        trainer = self.config.trainer
        batches = self.state.reader.batches(
            window.days, trainer.batch_size, self.config.data.buffer_rows, make_shuffle(trainer.shuffle)
        )
        return batches, trainer.steps or max(1, round(trainer.passes * batches.steps))

    def _train_to_the_end(self):
        state, stride = self.state, self.config.trainer.stride_days
        if (last := state.position.last_day) is not None:
            # A day that came after the last run ended, or whose evaluation was cut off.
            self._evaluate_pending(last, tuple(day for day in self.log.days if day > last)[:stride])
            if self.config.export.when == "every_window" and not state.position.batch:
                self.publish()  # It may have been killed before.
        todo = windows(self.log.days, self.config.trainer.window_days, stride, after=last)
        # One stream over all windows: the next one is read while this one is trained and evaluated.
        iterator = iter(state.feed(self.stream(todo), self.config.trainer.batch_size))
        for window in todo:
            with state.reader.input_errors():
                self._train_window(window, iterator)
            self._evaluate_pending(window.last, window.next_days)
            if self.config.export.when == "every_window":
                self.publish()
        if self.config.export.when == "last" and state.position.last_day is not None:
            self.publish()

    def _train_window(self, window: Window, iterator):
        trainer, state = self.config.trainer, self.state
        batches, total = self.plan(window)
        numbers, done = self.recovery.numbers(window.last, state.position.batch, total), 0
        state.watch.begin(window.last, total)
        keep_freed_memory()  # In each window: the first generator of tf.data undoes it.
        if len(numbers):
            state.trace(iterator)  # Takes long, and SIGTERM may end it: nothing is lost yet.
        began = checkpointed = time.monotonic()
        with self.termination.held(), self.report.window(window, len(numbers)) as show:
            while done < len(numbers):
                trained = numbers[done : done + self._steps_of_a_call()]
                losses, stop = self._call(iterator, trained, total)
                done += len(trained)
                self.infinite.tell(state.reader.checks.infinite())
                show(done, len(trained) * trainer.batch_size, int(state.optimizer.iterations.numpy()), losses)
                self._look_at_losses(window, trained, losses)
                self._look_at_optimizer(window, trained)
                due = time.monotonic() - checkpointed > 60 * trainer.checkpoint_minutes
                if (stop or due) and done < len(numbers):
                    state.save(state.position.last_day, int(trained[-1]) + 1)
                    checkpointed = time.monotonic()
                    if stop:
                        raise Terminated
            if state.optimizer.averaging is not None:
                state.optimizer.averaging.snapshot()
            whole = self.recovery.numbers(window.last, 0, total)  # Also what an earlier start of the run has trained.
            copies = batches.steps * trainer.batch_size - batches.rows  # Rows that fill up the last batch of a pass.
            self.run.write_window_metrics(
                window.last,
                {
                    "window": [window.days[0], window.last],
                    "eval_day": None,
                    "examples": len(whole) * trainer.batch_size
                    - copies * int((whole % batches.steps == batches.steps - 1).sum()),
                    "steps": len(whole),
                    "tasks": None,
                    "seconds": time.monotonic() - began,
                    "examples_per_second": done * trainer.batch_size / (time.monotonic() - began),
                    "evaluation_seconds": None,
                },
            )
            state.save(window.last, 0)

    def _steps_of_a_call(self) -> int:
        if self.seconds_per_step is None:
            return 1  # The first call shows what a step takes.
        return int(np.clip(CALL_SECONDS / self.seconds_per_step, 1, self.config.trainer.steps_per_call))

    def _call(self, iterator, numbers: np.ndarray, total: int) -> tuple[np.ndarray, bool]:
        """Trains on the batches `numbers` of a window of `total`, the iterator's next ones.

        Returns their losses, `(batches, 1 + tasks)`, and whether a worker was asked to stop.
        """
        began, agreement, count = time.monotonic(), self.state.agreement, len(numbers)
        rates = self.state.rate_factors(numbers, total)
        with self.profiler.call():
            losses = self.state.steps.train(iterator, tf.constant(count), rates).numpy()
        stop, seconds = agreement.total(self.termination.requested, time.monotonic() - began)
        self.seconds_per_step = seconds / agreement.workers / count
        return losses, stop > 0

    def _look_at_losses(self, window: Window, trained: np.ndarray, losses: np.ndarray):
        """Follows the losses of the batches `trained`; raises Diverged once it is certain that the total has."""
        watch, last = self.state.watch, Batch(window.last, int(trained[-1]))
        for finding in watch.update(trained, losses):
            first = watch.batch(finding.first_step)
            what = f"{finding.kind.replace('_', ' ')} of {finding.column} from batch {first.number} of {first.last} on"
            figures = {
                "column": finding.column,
                "window_end": first.last,
                "batches": [first.number, watch.batch(finding.last_step).number],
                **finding.figures,
            }
            if finding.kind == "full_divergence" and finding.column == "loss":
                raise Diverged(what, first, last, figures)
            self.run.add_event(finding.kind, **figures)
            self.report.found(what)

    def _look_at_optimizer(self, window: Window, trained: np.ndarray):
        """Passes on what the optimizer noted in the steps of `trained`: steps left out, its diagnostics, sharpness."""
        optimizer, count = self.state.optimizer, len(trained)
        iteration = int(optimizer.iterations.numpy())
        if (skipped := int(optimizer.skipped_steps.numpy())) > self.skipped:
            first, last, new = int(trained[0]), int(trained[-1]), skipped - self.skipped
            self.run.add_event("skipped_steps", window_end=window.last, steps=[first, last], count=new)
            self.report.skipped(window, first, last, new)
            self.skipped = skipped
        every = self.config.trainer.track_every
        if every and iteration // every > (iteration - count) // every:
            self.report.diagnostics(optimizer.diagnostics(), iteration // every * every)
        every = self.config.trainer.sharpness_every
        if every and iteration // every > (iteration - count) // every:
            self.report.diagnostics({"sharpness": self._measure_sharpness(window)}, iteration)

    def _measure_sharpness(self, window: Window) -> dict[str, float]:
        """Returns the sharpness on one batch of the window, the same one however often it is asked for."""
        size, key = self.config.trainer.batch_size, (self.config.trainer.seed, window.last.toordinal())
        batch = next(self.state.reader.batches(window.days, size, size).one_pass(key))
        return self.sharpness(*self.state.reader.layout.unpack(batch))

    def _evaluate_pending(self, last: date, next_days: tuple[date, ...]):
        """Evaluates the next days that the metrics of the window ending at `last` do not have yet.

        Raises:
            Diverged: If the metrics are those of a diverged model; they are not kept.
        """
        metrics = self.run.window_metrics(last)
        evaluated = {metrics["eval_day"], *metrics.get("later_days", {})} if metrics else set(map(str, next_days))
        pending = [day for day in next_days if str(day) not in evaluated]
        # The chief alone writes metrics, so it alone knows for sure. Days are evaluated in order: a number says which.
        pending = next_days[len(next_days) - self.state.agreement.of_chief(len(pending)) :]
        if not pending:
            return
        began = time.monotonic()
        new = {str(day): self._evaluate(day) for day in pending}
        self.infinite.tell(self.state.reader.checks.infinite())
        self._judge(last, pending[0], new[str(pending[0])])
        if not self.run.writable:
            return
        if metrics["eval_day"] is None:
            first = str(next_days[0])
            metrics |= {"eval_day": first, "tasks": new.pop(first), "evaluation_seconds": time.monotonic() - began}
        if new:  # A stride of several days: each is evaluated before the next window trains on it.
            metrics["later_days"] = {**metrics.get("later_days", {}), **new}
        self.run.write_window_metrics(last, metrics)
        self.report.evaluated(last, metrics, int(self.state.optimizer.iterations.numpy()))

    def _evaluate(self, day: date) -> dict[str, dict[str, float]]:
        """Returns the metrics of a day by task; empty but for the chief."""
        predictions = self.state.predict(day)
        return evaluate(self.config, self.log, day, predictions) if self.run.writable else {}

    def _judge(self, last: date, day: date, tasks: dict[str, dict[str, float]]):
        """Says by the metrics of the next day whether the model is good: a Diverged, or a mark at its checkpoint.

        An odd day must not be taken for a bad model: where a day looks bad, the newest model known to be good is
        evaluated on it too, and if that does no better, the day is told of and training goes on.
        """
        state = self.state
        earlier = [tasks for earlier, tasks in self.run.evaluations() if earlier < str(day)][-EARLIER_DAYS:]

        def wrong(tasks, jumped) -> list[str]:
            history = {name: [*(metrics[name] for metrics in earlier), own] for name, own in tasks.items()}
            return evaluation_diverged(history, self.config.divergence, jumped)

        broken = wrong(tasks, state.watch.jumped) if self.run.writable else []
        if not state.agreement.of_chief(len(broken)):
            state.watch.jumped = False
            if self.run.writable and (state.saved.last, state.saved.step) == (last, 0):
                state.checkpoints.mark_good(state.saved)
            return
        number = state.agreement.of_chief(state.saved.number if self.run.writable else 0)
        good = state.agreement.of_chief(state.checkpoints.known_good().number if self.run.writable else 0)
        state.restore(good)
        its_tasks = self._evaluate(day)
        odd_day = state.agreement.of_chief(bool(wrong(its_tasks, jumped=False)) if self.run.writable else False)
        state.restore(number)
        figures = {"window_end": last, "day": day, "rules": broken}
        if good == number or not odd_day:
            why = f"the metrics of {day} are those of a diverged model ({'; '.join(broken)})"
            raise Diverged(why, None, Batch(last, 0), figures)
        self.run.add_event("odd_day", **figures)
        self.report.found(f"day {day} is odd, not the model: {'; '.join(broken)}; so are they for an earlier model")

    def _recover(self, diverged: Diverged):
        """Goes back to the newest checkpoint known to be good, and notes what shall be different from there on."""
        agreement, checkpoints = self.state.agreement, self.state.checkpoints
        known = checkpoints.known_good() if self.run.writable else None
        good = agreement.of_chief(known.number if known else 0)
        newest = agreement.of_chief(checkpoints.all()[-1].number if known else 0)
        ordinal = agreement.of_chief(known.last.toordinal() if known and known.last else 0)
        since = date.fromordinal(ordinal) if ordinal else None
        event = {"why": diverged.why, **diverged.figures}
        try:
            done = self.recovery.add(diverged, good, newest, since)
        except Exception:
            self.run.add_event("diverged_for_good", **event)
            raise
        self.run.add_event("recovery", **event, **done, factor=self.recovery.rate_factor)
        left_out = f", leaving out {done['skipped']}" if done["skipped"] else ""
        self.report.found(
            f"{diverged.why}: back to checkpoint {good}, trained to {since or 'nothing yet'}{left_out}, "
            f"learning rates times {self.recovery.rate_factor:g}"
        )
        self._go_back(good)

    def _go_back(self, number: int | None):
        """Restores a checkpoint, by default the newest that the last recovery did not give up."""
        if self.run.writable and self.recovery.discarded:
            self.state.checkpoints.discard(*self.recovery.discarded)
        self.state.agreement.total(0.0)  # Nobody looks for checkpoints before the chief has done so.
        self.state.restore(number)
        self.state.set_rate_factor(self.recovery.rate_factor)
        self.skipped = int(self.state.optimizer.skipped_steps.numpy())  # Those already told of.
