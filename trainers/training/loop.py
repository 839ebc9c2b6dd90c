"""Sequential training on a moving window of days, each day evaluated before it is trained on."""

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfstable.analysis.sharpness import SharpnessProbe
from tfstable.data.log import DayLog
from tfstable.data.window import Arrays, Batches, Window, windows
from tfstable.errors import InputError
from tfstable.inputs.reader import Stream
from tfstable.inputs.statistics import Statistics
from trainers.build.shuffle import make_shuffle
from trainers.config import Config
from trainers.devices.memory import keep_freed_memory
from trainers.devices.termination import Terminated, Termination
from trainers.health.loss_watch import Batch
from trainers.health.verdict import Verdict, judge
from trainers.report.console import Report
from trainers.report.profiler import Profiler
from trainers.store.run_directory import RunDirectory
from trainers.training.evaluation import evaluate
from trainers.training.first_window import fit_statistics
from trainers.training.infinite_values import InfiniteValues
from trainers.training.publishing import Publisher
from trainers.training.recover import Diverged, Recovery
from trainers.training.state import RunState
from trainers.training.trained_days import TrainedDays

__all__ = ["MovingWindow", "fit_statistics"]

CALL_SECONDS = 5.0  # What a call of the graph should take at most: until it returns, nothing else can happen.


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
        self.days = TrainedDays(config, log, run)
        self._go_back(None)
        self.sharpness = SharpnessProbe(self.state.model, self.state.optimizer)
        self.seconds_per_step: float | None = None  # As the last call had it.

    def train(self):
        """Trains every window that the log has and the run has not, and leaves all its files behind.

        Raises:
            InputError: If days that shall be held out have been trained on.
        """
        until, trained_to = self.config.data.until, self.trained_to()
        if until is not None and trained_to is not None and trained_to > until:
            raise InputError(
                f"data.until: {self.run.path} was trained on days to {trained_to}, after {until}; set {trained_to} or "
                "a later day, or train another --model-dir"
            )
        if self.state.agreement.of_chief(self.state.saved is None):
            self.state.save(None, 0, good=True)  # What there is to go back to, until a day's metrics are in line.
        while True:
            try:
                self._train_to_the_end()
                return
            except Diverged as diverged:
                self._recover(diverged)

    def trained_to(self) -> date | None:
        """Returns the last day that the model has seen rows of; None if there is none."""
        last, trainer = self.state.position.last_day, self.config.trainer
        if not self.state.position.batch:
            return last
        days = [*self.log.days, *self.log.held_out]
        begun = windows(days, trainer.window_days, trainer.stride_days, after=last)[:1]
        return begun[0].last if begun else last

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
        self.days.look(state, self.report)
        if (last := state.position.last_day) is not None:
            # A day that came after the last run ended, or whose evaluation was cut off.
            self._evaluate_pending(last, tuple(day for day in self.log.days if day > last)[:stride])
            if self.config.export.when == "every_window" and not state.position.batch:
                self.publish()  # It may have been killed before.
        todo = windows(self.log.days, self.config.trainer.window_days, stride, after=last)
        # One stream over all windows: the next one is read while this one is trained and evaluated.
        batches = Stream(self.stream(todo))
        iterator = iter(state.feed(batches, self.config.trainer.batch_size))
        try:
            for window in todo:
                self.days.begin(window, state.position.last_day)
                with state.reader.input_errors():
                    self._train_window(window, iterator)
                self._evaluate_pending(window.last, window.next_days)
                if self.config.export.when == "every_window":
                    self.publish()
        except Diverged:  # SIGTERM must not wait for a buffer that is being read; what comes after a recovery may.
            batches.close()
            raise
        batches.close()
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
                        raise Terminated(self.termination.number)
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
        new, odd = {}, {}
        for day in pending:
            new[str(day)] = self._evaluate(day)
            self.infinite.tell(self.state.reader.checks.infinite())
            if faults := self._judge(last, day, new[str(day)]):
                odd[str(day)] = faults
        if not self.run.writable:
            return
        if metrics["eval_day"] is None:
            first = str(next_days[0])
            metrics |= {"eval_day": first, "tasks": new.pop(first), "evaluation_seconds": time.monotonic() - began}
        if new:  # A stride of several days: each is evaluated before the next window trains on it.
            metrics["later_days"] = {**metrics.get("later_days", {}), **new}
        if odd:
            metrics["odd"] = {**metrics.get("odd", {}), **odd}
        self.run.write_window_metrics(last, metrics)
        self.report.evaluated(last, metrics, int(self.state.optimizer.iterations.numpy()))

    def _evaluate(self, day: date) -> dict[str, dict[str, float]]:
        """Returns the metrics of a day by task; empty but for the chief."""
        predictions = self.state.predict(day)
        return evaluate(self.config, self.log, day, predictions) if self.run.writable else {}

    def _judge(self, last: date, day: date, tasks: dict[str, dict[str, float]]) -> dict[str, list[str]]:
        """Says by the metrics of a next day whether the model is good: a Diverged, or a mark at its checkpoint.

        An odd day must not be taken for a bad model: what is wrong with its labels alone is no matter of the model's,
        and where its metrics look bad, the newest model known to be good is evaluated on it too. If that breaks the
        same rules, the day is told of and training goes on.

        Returns:
            What is wrong with the day, by task.
        """
        state = self.state
        verdict = self._verdict(day, tasks, state.watch.jumped)
        odd = {task: [fault] for task, fault in verdict.labels.items()}
        if odd:
            self.run.add_event("odd_labels", window_end=last, day=day, reasons=list(verdict.labels.values()))
            self.report.found(f"{'; '.join(verdict.labels.values())}: look at the log. Training continues")
        # The chief alone has metrics, and decides for all.
        if not state.agreement.of_chief(len(verdict.faults)):
            if state.agreement.of_chief(verdict.labelled):
                self._in_line(last)
            return odd
        this = state.agreement.of_chief(state.saved.number if self.run.writable else 0)
        good = state.agreement.of_chief(state.checkpoints.known_good().number if self.run.writable else 0)
        if good != this:  # Else this very model was in line on a day before: it is the day.
            state.restore(good)
            shared = {fault[:2] for fault in self._verdict(day, self._evaluate(day)).faults}
            state.restore(this)
        lines = [fault.line for fault in verdict.faults]
        figures = {"window_end": last, "day": day, "rules": lines}
        if good != this and state.agreement.of_chief(any(fault[:2] not in shared for fault in verdict.faults)):
            rules = f"{'; '.join(lines)}; checkpoint {good} does better"
            raise Diverged(
                f"the metrics of {day} are those of a diverged model ({rules})", None, Batch(last, 0), figures
            )
        self.run.add_event("odd_day", **figures)
        self.report.found(
            f"day {day} looks anomalous ({'; '.join(lines)}): an earlier healthy model fails on it too. "
            "Training continues"
        )
        for fault in verdict.faults:
            for task in tasks if fault.task is None else [fault.task]:
                odd.setdefault(task, []).append(fault.line)
        return odd

    def _verdict(self, day: date, tasks: dict[str, dict[str, float]], jumped: bool = False) -> Verdict:
        """Judges the metrics of a day, which the chief alone has."""
        if not self.run.writable:
            return Verdict({}, [], labelled=False)
        since = self.config.evaluation.compare_since
        return judge(day, tasks, self.run.evaluations(), self.run.odd_days(), since=since, jumped=jumped)

    def _in_line(self, last: date):
        """Notes that the metrics of the next day are in line for the model of the window that ends at `last`."""
        state = self.state
        state.watch.jumped = False
        if self.run.writable and (state.saved.last, state.saved.step) == (last, 0):
            state.checkpoints.mark_good(state.saved)
            state.saved = state.saved._replace(good=True)
        if self.recovery.in_line(last):
            factor = self.recovery.rate_factor
            state.set_rate_factor(factor)
            self.run.add_event("rates_raised", window_end=last, factor=factor)
            self.report.found(f"the window ending {last} is in line: learning rates times {factor:g} from here on")

    def _recover(self, diverged: Diverged):
        """Goes back to the newest checkpoint known to be good, and notes what shall be different from there on."""
        agreement, checkpoints = self.state.agreement, self.state.checkpoints
        known = checkpoints.known_good() if self.run.writable else None
        good = agreement.of_chief(known.number if known else 0)
        newest = agreement.of_chief(checkpoints.all()[-1].number if known else 0)
        ordinal = agreement.of_chief(known.last.toordinal() if known and known.last else 0)
        since = date.fromordinal(ordinal) if ordinal else None
        odd_days = self.run.odd_days() if self.run.writable else {}
        trainer = self.config.trainer
        after = windows(self.log.days, trainer.window_days, trainer.stride_days, since)
        ends = [window.last for window in after if window.last <= diverged.last.last]
        odd = [day for day in ends if agreement.of_chief(str(day) in odd_days)]
        event = {"why": diverged.why, **diverged.figures}
        try:
            done = self.recovery.add(diverged, good, newest, since, odd)
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
