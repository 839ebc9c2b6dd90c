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
from tfstable.sharpness import SharpnessProbe
from tfstable.specs import label_columns
from tfstable.statistics import Statistics, fit
from trainers.agreement import Agreement
from trainers.check import tables
from trainers.checkpoints import Checkpoints
from trainers.cluster import read_cluster
from trainers.config import Config
from trainers.evaluation import evaluate
from trainers.model import make_model
from trainers.optimizer import make_optimizer
from trainers.profiler import Profiler
from trainers.publishing import Publisher
from trainers.report import Report
from trainers.run_directory import RunDirectory
from trainers.sparsecore import check_tables, has_sparse_cores, on_host, place_on_sparse_cores
from trainers.steps import Steps
from trainers.strategy import make_strategy
from trainers.termination import Terminated, Termination

CALL_SECONDS = 5.0  # What a call of the graph should take at most: until it returns, nothing else can happen.


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

    Under a strategy of several workers each of them makes one, with a run directory of which the chief's alone is
    writable; all take the same turns, since their collective operations must meet.

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
        self.config, self.log, self.run, self.report = config, log, run, report
        self.termination, self.profiler = termination or Termination(), profiler or Profiler(None)
        cluster = read_cluster(config.trainer.strategy)
        self.strategy = strategy = make_strategy(
            config.trainer, cluster
        )  # Waits for all workers; the chief's run is begun.
        self.agreement = Agreement(strategy, cluster)
        keras.utils.set_random_seed(config.trainer.seed)
        self.replicas = strategy.num_replicas_in_sync
        if config.trainer.batch_size % self.replicas or config.evaluation.batch_size % self.replicas:
            raise InputError(
                f"trainer.batch_size ({config.trainer.batch_size}) and evaluation.batch_size "
                f"({config.evaluation.batch_size}) must be multiples of the number of replicas, {self.replicas}"
            )
        self.statistics = statistics
        self.preprocessor = Preprocessor(config.features, statistics)
        self.reader = ExampleReader(log, self.preprocessor, statistics, config.tasks, config.data.weight)
        is_tpu, sparse_cores = isinstance(strategy, tf.distribute.TPUStrategy), has_sparse_cores(strategy)
        if is_tpu:
            check_tables(config, tables(config), sparse_cores)
        with strategy.scope():
            self.placed = {}  # Layers on SparseCores.
            self.model = make_model(
                config,
                statistics,
                lambda model: self.placed.update(place_on_sparse_cores(model, config) if sparse_cores else {}),
            )
            self.optimizer = _optimizer(config, self.model)
        self.steps = Steps(strategy, self.model, self.optimizer, config.trainer.xla, is_tpu and not sparse_cores)
        self.sharpness = SharpnessProbe(self.model, self.optimizer)
        self.position = Position()
        self.checkpoints = Checkpoints(
            run.checkpoints,
            tf.train.Checkpoint(model=self.model, optimizer=self.optimizer, position=self.position),
            config.trainer.keep_checkpoints,
            config.trainer.keep_weekly,
        )
        self._restore()
        self.skipped = int(self.optimizer.skipped_steps.numpy())  # Those already told of.
        self.seconds_per_step: float | None = None  # As the last call had it.

    def train(self):
        """Trains every window that the log has and the run has not, and leaves all its files behind."""
        stride = self.config.trainer.stride_days
        if (last := self.position.last_day) is not None:
            # A day that came after the last run ended, or whose evaluation was cut off.
            self._evaluate_pending(last, tuple(day for day in self.log.days if day > last)[:stride])
            if self.config.export.when == "every_window" and not int(self.position.step.numpy()):
                self.publish()  # It may have been killed before.
        todo = windows(self.log.days, self.config.trainer.window_days, stride, after=last)
        # One stream over all windows: the next one is read while this one is trained and evaluated.
        iterator = iter(self.feed(self.stream(todo), self.config.trainer.batch_size))
        for window in todo:
            with self.reader.input_errors():
                self._train_window(window, iterator)
            self._evaluate_pending(window.last, window.next_days)
            if self.config.export.when == "every_window":
                self.publish()
        if self.config.export.when == "last" and self.position.last_day is not None:
            self.publish()

    def predict(self, day: date) -> dict[str, np.ndarray]:
        """Returns each task's predictions for every row of `day`, `(rows,)`, in the log's order."""
        size = self.config.evaluation.batch_size
        batches = self.reader.batches((day,), size, self.config.data.buffer_rows)
        with self.reader.input_errors(), self.optimizer.averaged_weights():
            return self.steps.predict(self.feed(batches.one_pass(None), size), batches.rows)

    def publish(self) -> Path | None:
        """Publishes the model as it is, once a window; returns its version, to the chief alone."""
        model = self.model
        if self.placed:
            model = on_host(self.placed, self.model, make_model(self.config, self.statistics))
        made_of = (model, self.preprocessor, self.statistics)
        publisher = Publisher(self.run, self.log, *made_of, self.predict, self.report, self.config.data.weight)
        last = self.position.last_day
        day = publisher.day_to_compare(last) if self.run.writable else None
        if self.run.writable:
            self.agreement.of_chief(day.toordinal() if day else 0)
            with self.optimizer.averaged_weights():
                return publisher.publish(last)
        if ordinal := self.agreement.of_chief(0):
            self.predict(date.fromordinal(ordinal))  # The chief's comparison needs every worker's part.
        return None

    def feed(self, batches: Iterator[Arrays], batch_size: int) -> tf.distribute.DistributedDataset:
        """Returns the batches as a dataset in which each replica finds its part."""

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            each = self.replicas // context.num_input_pipelines
            own = range(context.input_pipeline_id * each, (context.input_pipeline_id + 1) * each)
            return self.reader.dataset(batches, batch_size, self.replicas, own, self.config.data.prefetch)

        return self.strategy.distribute_datasets_from_function(of_worker)

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
        if done < total:
            self.steps.trace(iterator)  # Takes long, and SIGTERM may end it: nothing is lost yet.
        began = checkpointed = time.monotonic()
        with self.termination.held(), self.report.window(window, total, done) as show:
            while done < total:
                count = min(self._steps_of_a_call(), total - done)
                losses, stop = self._call(iterator, count)
                done += count
                iteration = int(self.optimizer.iterations.numpy())
                show(done, count * trainer.batch_size, iteration, losses)
                self._look_at_optimizer(window, done, iteration, count)
                due = time.monotonic() - checkpointed > 60 * trainer.checkpoint_minutes
                if (stop or due) and done < total:
                    self._checkpoint(self.position.last_day, done)
                    checkpointed = time.monotonic()
                    if stop:
                        raise Terminated
            if self.optimizer.averaging is not None:
                self.optimizer.averaging.snapshot()
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
            self._checkpoint(window.last, 0)

    def _steps_of_a_call(self) -> int:
        if self.seconds_per_step is None:
            return 1  # The first call shows what a step takes.
        return int(np.clip(CALL_SECONDS / self.seconds_per_step, 1, self.config.trainer.steps_per_call))

    def _call(self, iterator, count: int) -> tuple[np.ndarray, bool]:
        """Trains `count` steps; returns their losses, `(count, 1 + tasks)`, and whether a worker was asked to stop."""
        began = time.monotonic()
        with self.profiler.call():
            losses = self.steps.train(iterator, tf.constant(count)).numpy()
        stop, seconds = self.agreement.total(self.termination.requested, time.monotonic() - began)
        self.seconds_per_step = seconds / self.agreement.workers / count
        return losses, stop > 0

    def _checkpoint(self, last: date | None, step: int):
        self.position.window.assign(last.toordinal() if last else 0)
        self.position.step.assign(step)
        if self.run.writable:
            self.checkpoints.save(last, step)

    def _restore(self):
        """Restores the newest checkpoint that can be read; one that cannot is set aside and told of."""
        damaged: list[tuple[Path, str]] = []
        saved = self.checkpoints.restore(lambda path, reason: damaged.append((path, reason)))
        number = saved.number if saved else 0
        if self.agreement.of_chief(number) != number:
            raise InputError(
                f"{self.run.path}: this worker finds checkpoint {number}, the chief another; "
                "--model-dir must be a directory that all workers share"
            )
        for path, reason in damaged if self.run.writable else ():
            self.run.add_event("checkpoint_damaged", checkpoint=path.name, reason=reason, restored=number)
            self.report.damaged(path, reason, number)
            self.checkpoints.set_aside(path)

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
        every = self.config.trainer.sharpness_every
        if every and iteration // every > (iteration - count) // every:
            self.report.diagnostics({"sharpness": self._measure_sharpness(window)}, iteration)

    def _measure_sharpness(self, window: Window) -> dict[str, float]:
        """Returns the sharpness on one batch of the window, the same one however often it is asked for."""
        size, key = self.config.trainer.batch_size, (self.config.trainer.seed, window.last.toordinal())
        batch = next(self.reader.batches(window.days, size, size).one_pass(key))
        return self.sharpness(batch["features"], batch["labels"], batch["weight"])

    def _evaluate_pending(self, last: date, next_days: tuple[date, ...]):
        """Evaluates the next days that the metrics of the window ending at `last` do not have yet."""
        metrics = self.run.window_metrics(last)
        evaluated = {metrics["eval_day"], *metrics.get("later_days", {})} if metrics else set(map(str, next_days))
        pending = [day for day in next_days if str(day) not in evaluated]
        # The chief alone writes metrics, so it alone knows for sure. Days are evaluated in order: a number says which.
        pending = next_days[len(next_days) - self.agreement.of_chief(len(pending)) :]
        if not pending:
            return
        began = time.monotonic()
        predictions = {day: self.predict(day) for day in pending}
        if not self.run.writable:
            return
        new = {str(day): evaluate(self.config, self.log, day, p) for day, p in predictions.items()}
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
    optimizer = make_optimizer(config.optimizer, config.trainer.track_every, config.trainer.batch_size)
    try:
        optimizer.build(model.trainable_variables)
    except ValueError as error:  # A variable in no group, in several, or a group of none.
        raise InputError(f"optimizer.groups: {error}") from None
    return optimizer
