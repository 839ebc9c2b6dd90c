"""Sequential training on a moving window of days, each day evaluated before it is trained on."""

import time
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.data.columns import arrow_types
from tfstable.data.dataset import ExampleReader
from tfstable.data.log import DayLog, read
from tfstable.data.window import Arrays, Batches, Window, windows
from tfstable.errors import InputError
from tfstable.features import Preprocessor
from tfstable.models import RankingModel
from tfstable.optimizers import Composite
from tfstable.specs import label_columns
from tfstable.statistics import Statistics, fit
from trainers.config import Config
from trainers.evaluation import evaluate
from trainers.model import make_model
from trainers.optimizer import make_optimizer
from trainers.publishing import Publisher
from trainers.report import Report
from trainers.run_directory import RunDirectory
from trainers.steps import Steps
from trainers.strategy import make_strategy


class Position(tf.Module):
    """Where in the data a run is: part of every checkpoint."""

    def __init__(self):
        super().__init__()
        self.window = tf.Variable(0, dtype=tf.int64)  # Last day of the newest finished window, as an ordinal; 0: none.
        self.step = tf.Variable(0, dtype=tf.int64)  # Steps done in the window after it.

    @property
    def last_day(self) -> date | None:
        ordinal = int(self.window.numpy())
        return date.fromordinal(ordinal) if ordinal else None


class MovingWindow:
    """A run: everything that training needs, made from a config.

    Args:
        config: The config.
        log: The log, checked against it.
        statistics: What was fitted on the first window.
        run: The run's directory; its newest checkpoint is restored.
        report: What the user sees.
    """

    def __init__(self, config: Config, log: DayLog, statistics: Statistics, run: RunDirectory, report: Report):
        self.config, self.log, self.run, self.report = config, log, run, report
        keras.utils.set_random_seed(config.trainer.seed)
        strategy = make_strategy(config.trainer.strategy)
        self.replicas = strategy.num_replicas_in_sync
        if config.trainer.batch_size % self.replicas or config.evaluation.batch_size % self.replicas:
            raise InputError(
                f"trainer.batch_size ({config.trainer.batch_size}) and evaluation.batch_size "
                f"({config.evaluation.batch_size}) must be multiples of the number of replicas, {self.replicas}"
            )
        self.statistics = statistics
        self.preprocessor = Preprocessor(config.features, statistics)
        self.reader = ExampleReader(log, self.preprocessor, statistics, config.tasks, config.data.weight)
        with strategy.scope():
            self.model = make_model(config, statistics)
            self.optimizer = _optimizer(config, self.model)
        self.strategy = strategy
        self.steps = Steps(strategy, self.model, self.optimizer)
        self.position = Position()
        self.checkpoints = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=self.model, optimizer=self.optimizer, position=self.position),
            str(run.checkpoints),
            max_to_keep=config.trainer.keep_checkpoints,
        )
        if self.checkpoints.latest_checkpoint:
            self.checkpoints.checkpoint.restore(self.checkpoints.latest_checkpoint).assert_existing_objects_matched()
        self.skipped = int(self.optimizer.skipped_steps.numpy())  # Those already told of.

    def train(self):
        """Trains every window that the log has and the run has not, and leaves all its files behind."""
        stride = self.config.trainer.stride_days
        if (last := self.position.last_day) is not None:
            # A day that came after the last run ended, or whose evaluation was cut off.
            self._evaluate_pending(last, tuple(day for day in self.log.days if day > last)[:stride])
        todo = windows(self.log.days, self.config.trainer.window_days, stride, after=last)
        # One stream over all windows: the next one is read while this one is trained and evaluated.
        dataset = self.reader.dataset(self.stream(todo), self.config.trainer.batch_size, self.replicas)
        iterator = iter(self.strategy.distribute_datasets_from_function(lambda _: dataset))
        for window in todo:
            with self.reader.input_errors():
                self._train_window(window, iterator)
            self._evaluate_pending(window.last, window.next_days)
            if self.config.export.when == "every_window":
                self.publish()
        if self.config.export.when == "last" and self.position.last_day is not None:
            self.publish()

    def publish(self) -> Path:
        """Publishes the model as it is, once a window; returns its version."""
        publisher = Publisher(
            self.config,
            self.run,
            self.log,
            self.model,
            self.statistics,
            self.predict,
            self.report,
        )
        return publisher.publish(self.position.last_day)

    def predict(self, day: date) -> dict[str, np.ndarray]:
        """Returns each task's predictions for every row of `day`, `(rows,)`, in the log's order."""
        size = self.config.evaluation.batch_size
        batches = self.reader.batches((day,), size, self.config.data.buffer_rows)
        with self.reader.input_errors():
            return self.steps.predict(self.reader.dataset(batches.one_pass(None), size, self.replicas), batches.rows)

    def stream(self, todo: list[Window]) -> Iterator[Arrays]:
        """Yields the batches of all windows to train, from the position on."""
        start = int(self.position.step.numpy())
        for window in todo:
            batches, total = self.plan(window)
            key = (self.config.trainer.seed, window.last.toordinal())
            yield from islice(batches.forever(key, start), total - start)
            start = 0

    def plan(self, window: Window) -> tuple[Batches, int]:
        """Returns the batches of a window and the number of steps to train on them."""
        trainer = self.config.trainer
        batches = self.reader.batches(window.days, trainer.batch_size, self.config.data.buffer_rows)
        return batches, trainer.steps or max(1, round(trainer.passes * batches.steps))

    def _train_window(self, window: Window, iterator):
        trainer = self.config.trainer
        batches, total = self.plan(window)
        trained = done = int(self.position.step.numpy())
        began = checkpointed = time.monotonic()
        with self.report.window(window, total, done) as show:
            while done < total:
                count = min(trainer.steps_per_call, total - done)
                losses = self.steps.train(iterator, tf.constant(count)).numpy()  # (count, 1 + tasks)
                done += count
                iteration = int(self.optimizer.iterations.numpy())
                show(done, count * trainer.batch_size, iteration, losses)
                self._look_at_optimizer(window, done, iteration, count)
                if time.monotonic() - checkpointed > 60 * trainer.checkpoint_minutes and done < total:
                    self.position.step.assign(done)
                    self.checkpoints.save()
                    checkpointed = time.monotonic()
        full, rest = divmod(total, batches.steps)
        self.run.write_window_metrics(
            window.last,
            {
                "window": [window.days[0], window.last],
                "eval_day": None,
                "examples": full * batches.rows + min(rest * trainer.batch_size, batches.rows),
                "steps": total,
                "tasks": None,
                "seconds": time.monotonic() - began,
                "examples_per_second": (total - trained) * trainer.batch_size / (time.monotonic() - began),
                "evaluation_seconds": None,
            },
        )
        self.position.window.assign(window.last.toordinal())
        self.position.step.assign(0)
        self.checkpoints.save()

    def _look_at_optimizer(self, window: Window, done: int, iteration: int, count: int):
        """Passes on what the optimizer noted in the last `count` steps: steps that it skipped, and its diagnostics."""
        if (skipped := int(self.optimizer.skipped_steps.numpy())) > self.skipped:
            first, new = done - count, skipped - self.skipped
            self.run.add_event("skipped_steps", window_end=window.last, steps=[first, done - 1], count=new)
            self.report.skipped(window, first, done - 1, new)
            self.skipped = skipped
        every = self.config.trainer.track_every
        if every and iteration // every > (iteration - count) // every:
            self.report.diagnostics(self.optimizer.diagnostics(), iteration // every * every)

    def _evaluate_pending(self, last: date, next_days: tuple[date, ...]):
        """Evaluates the next days that the metrics of the window ending at `last` do not have yet."""
        metrics = self.run.window_metrics(last)
        if metrics is None:
            return
        evaluated = {metrics["eval_day"], *metrics.get("later_days", {})}
        began = time.monotonic()
        new = {
            str(day): evaluate(self.config, self.log, day, self.predict(day))
            for day in next_days
            if str(day) not in evaluated
        }
        if not new:
            return
        if metrics["eval_day"] is None:
            first = str(next_days[0])
            metrics |= {"eval_day": first, "tasks": new.pop(first), "evaluation_seconds": time.monotonic() - began}
        if new:  # A stride of several days: each is evaluated before the next window trains on it.
            metrics["later_days"] = {**metrics.get("later_days", {}), **new}
        self.run.write_window_metrics(last, metrics)
        self.report.evaluated(last, metrics, int(self.optimizer.iterations.numpy()))


def fit_statistics(config: Config, log: DayLog, columns: dict) -> Statistics:
    """Reads the first window once and returns its vocabularies, moments, quantiles and base rates."""
    units = [unit for day in log.days[: config.trainer.window_days] for unit in log.units(day)]
    wanted = dict.fromkeys(label_columns(config.tasks).values(), pa.float32()) | arrow_types(columns)
    batches = (pa.Table.from_batches([batch]) for batch in read(units, wanted))
    return fit(config.features, config.tasks, columns, batches)


def _optimizer(config: Config, model: RankingModel) -> Composite:
    optimizer = make_optimizer(config.optimizer, config.trainer.track_every)
    try:
        optimizer.build(model.trainable_variables)
    except ValueError as error:  # A variable in no group, in several, or a group of none.
        raise InputError(f"optimizer.groups: {error}") from None
    return optimizer
