"""The state of a run: model, optimizer, position in the data; saved and restored as one."""

from collections.abc import Generator
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfstable.data.log import DayLog
from tfstable.data.maturity import longest
from tfstable.data.window import Arrays, Window, windows
from tfstable.errors import InputError
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.living_ids import Ids, LivingIds
from tfstable.inputs.living_moments import Fitted, LivingMoments
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader, Stream
from tfstable.inputs.statistics import Statistics
from tfstable.layers.sparsecore import SparseCoreEmbeddings
from tfstable.models import RankingModel
from tfstable.specs import living
from trainers.build.learner import make_learner
from trainers.build.model import make_model
from trainers.build.renewal import renew
from trainers.build.sparsecore import check_tables, has_sparse_cores, on_host, place_on_sparse_cores
from trainers.build.steps import Steps
from trainers.config import Config, check_replicas
from trainers.devices.agreement import Agreement
from trainers.devices.cluster import read_cluster
from trainers.devices.strategy import is_one_cpu, make_strategy
from trainers.health.loss_watch import LossWatch
from trainers.report.console import Report
from trainers.store.checkpoints import Checkpoints, Saved
from trainers.store.counters import CounterStore
from trainers.store.run_directory import RunDirectory
from trainers.training.calibrating import Calibration
from trainers.training.check import tables
from trainers.training.first_window import value_checks
from trainers.training.position import Position
from trainers.training.publishing import ExportedCounters


class RunState:
    """Everything that a checkpoint holds, made from a config under its strategy.

    With several workers each makes one; only the chief's run directory is writable. All call the same methods in the
    same order, since their collective operations must meet.

    Args:
        config: The config.
        log: The log, checked against it.
        statistics: What was fitted on the first window.
        run: The run's directory, begun.
        report: What the user sees.

    Attributes:
        saved: The checkpoint that this state was last saved to or restored from; None before there is one.
        calibration: The maps of the calibrated tasks, and what they are fitted from.
        ids: The rows of ids before and after each window; None without such features.
        moments: The moments of numeric features before and after each window.
    """

    def __init__(self, config: Config, log: DayLog, statistics: Statistics, run: RunDirectory, report: Report):
        self._config, self._log, self._statistics, self._run, self._report = config, log, statistics, run, report
        cluster = read_cluster(config.trainer.strategy)
        self.strategy = make_strategy(config.trainer, cluster)  # Waits for all workers; the chief's run has begun.
        self.agreement = Agreement(self.strategy, cluster)
        keras.utils.set_random_seed(config.trainer.seed)
        self.replicas = self.strategy.num_replicas_in_sync
        sizes = config.trainer.batch_size, config.evaluation.batch_size
        if any(size % self.replicas for size in sizes):
            of = "trainer.batch_size ({}) and evaluation.batch_size ({})".format(*sizes)
            raise InputError(f"{of} must be multiples of the number of replicas, {self.replicas}")
        check_replicas(config.tasks, config.trainer, self.replicas)
        self.preprocessor = Preprocessor(config.features, statistics)
        of_rows = config.tasks, config.data.weight, value_checks(config), config.trainer.shuffle.by
        self.reader = ExampleReader(log, self.preprocessor, statistics, *of_rows)
        self._lengths = config.trainer.window_days, config.trainer.stride_days
        self.ids: LivingIds | None = None
        self._restored_ids: Ids | None = None  # Of a checkpoint in the middle of a window.
        if living(config.features):
            self.ids = LivingIds(log, config.features, statistics, *self._lengths)
        self.moments = LivingMoments(log, config.features, statistics, config.trainer.refit_windows, *self._lengths)
        self._restored_moments: Fitted | None = None  # Of a checkpoint in the middle of a window.
        self.counters = CounterStore(run.counters, log)
        if self.reader.counted is not None:
            self.reader.counted.earlier = self.counters.newest
            maturing = longest(config.tasks)
            self.reader.counted.behind = config.trainer.window_days + config.trainer.stride_days + maturing
        is_tpu, sparse_cores = isinstance(self.strategy, tf.distribute.TPUStrategy), has_sparse_cores(self.strategy)
        if is_tpu:
            check_tables(config, tables(config), sparse_cores)
        self._placed: dict[str, SparseCoreEmbeddings] = {}
        self.learner = make_learner(
            config,
            statistics,
            self.strategy,
            before_build=lambda model: self._placed.update(
                place_on_sparse_cores(model, config) if sparse_cores else {}
            ),
            make_steps=partial(Steps, xla=config.trainer.xla, dense_tables=is_tpu and not sparse_cores),
            pretrained=not run.has_checkpoints(),
        )
        self.calibration = Calibration(config, log, self.learner.model, self.strategy)
        self.position = Position()
        parts: dict[str, Any] = {"model": self.learner.model, "optimizer": self.learner.optimizer}
        if seeds := [state.value for state in self.learner.model.random_states()]:
            parts["seeds"] = seeds  # TensorFlow's checkpoint does not find them in the model.
        self.checkpoints = Checkpoints(
            run.checkpoints,
            tf.train.Checkpoint(**parts, position=self.position),
            config.trainer.keep_checkpoints,
            config.trainer.keep_weekly,
        )
        self.saved: Saved | None = None
        self.watch = LossWatch(config.divergence, config.tasks)

    @property
    def iteration(self) -> int:
        """Steps that the optimizer has taken."""
        return int(self.learner.optimizer.iterations.numpy())

    @property
    def skipped_steps(self) -> int:
        """Steps that were left out because a gradient was not finite."""
        return int(self.learner.optimizer.skipped_steps.numpy())

    def feed(
        self, batches: Generator[Arrays, None, None] | Stream[Arrays], batch_size: int
    ) -> tf.distribute.DistributedDataset | tf.data.Dataset:
        """Returns the batches as a dataset in which each replica finds its part."""

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            each = self.replicas // context.num_input_pipelines
            own = range(context.input_pipeline_id * each, (context.input_pipeline_id + 1) * each)
            return self.reader.dataset(batches, batch_size, self.replicas, own, self._config.data.prefetch)

        if is_one_cpu(self.strategy):  # Nothing to hand over: the strategy's iterator would copy every batch.
            return of_worker(tf.distribute.InputContext())
        return self.strategy.distribute_datasets_from_function(of_worker)

    def predict(
        self, day: date, as_of: date | None = None, statistics: Statistics | None = None
    ) -> dict[str, np.ndarray]:
        """Returns each task's predictions for every row of `day`, `(rows,)`, in the log's order.

        Args:
            day: A day of the log.
            as_of: The day whose counters the rows see; None: their own.
            statistics: Those of the model; None: as its position has them.
        """
        return self.predict_both(day, as_of, statistics)[0]

    def predict_both(
        self, day: date, as_of: date | None = None, statistics: Statistics | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Returns what `predict` does, and the logits of the calibrated tasks before their calibration."""
        size, statistics = self._config.evaluation.batch_size, statistics or self.fitted().statistics
        rows = self._config.data.buffer_rows
        batches = self.reader.batches((day,), size, rows, as_of=as_of, ids=self.ids_now, statistics=statistics)
        with self.reader.input_errors(), self.learner.optimizer.averaged_weights():
            return self.learner.steps.predict_both(self.feed(batches.one_pass(None), size), batches.rows)

    def exported(self, last: date) -> ExportedCounters | None:
        """Returns what an export holds of the counters, and predictions for `last` with that; None without counters."""
        if self.reader.counted is None:
            return None
        after = last + timedelta(1)
        return ExportedCounters(self.reader.counted.tables(after), self.predict(last, as_of=after))

    def ids_of(self, window: Window) -> dict[str, IdTable]:
        """Returns the rows of ids with which a window trains, by table."""
        return {} if self.ids is None else self.ids.before(window).ids.tables

    def ids_now(self) -> dict[str, IdTable]:
        """Returns the rows of ids that the model has at its position, by table."""
        if self.ids is None:
            return {}
        if not self.position.batch:
            return self.ids.after(self.position.last_day).tables
        # In the middle of a window. The log may be another one than that of the training.
        return (self._restored_ids or self.ids.before(self._begun(self.position.last_day)).ids).tables

    def fitted(self) -> Fitted:
        """Returns the moments that the model has at its position."""
        if not self.position.batch:
            return self.moments.after(self.position.last_day)
        return self._restored_moments or self.moments.before(self._begun(self.position.last_day))

    def _begun(self, last: date | None) -> Window:
        """The window that is trained after the one that ends at `last`."""
        return windows(self._log.days, *self._lengths, after=last)[0]

    def renew_ids(self, window: Window) -> None:
        """Gives rows to the ids that are new in a window, unless a part of it is trained."""
        if self.ids is None or self.position.batch:
            return
        given = self.ids.before(window).given
        with self.strategy.scope():
            renew(self.learner, given, self._config.trainer.seed, window.last)
        for table, new in given.items():
            if new.waiting and not self.ids.grows(table):
                self._run.add_event("ids_wait", window_end=window.last, table=table, waiting=new.waiting)
                self._report.found(
                    f"table {table} is full: {new.waiting:,} ids of the window that ends at {window.last} share row 0; "
                    "raise its capacity"
                )

    def model_to_export(self) -> RankingModel:
        """Returns the model in the form that runs on any device."""
        if not self._placed:
            return self.learner.model
        statistics = self.learner.model.statistics
        return on_host(self._placed, self.learner.model, make_model(self._config, statistics))

    def save(self, last: date | None, step: int, good: bool = False, begun: dict[str, Any] | None = None) -> None:
        """Saves the state, `step` batches into the window after the one that ends at `last`.

        Args:
            last: Last day of the newest finished window; None: there is none.
            step: Batches done of the window after it.
            good: Whether the model is known to be good.
            begun: The keys that number those batches.
        """
        self.position.window.assign(last.toordinal() if last else 0)
        self.position.step.assign(step)
        self._restored_ids = self._restored_moments = None  # The log is that of the training.
        if self._run.writable:
            ids, fitted = None, self.moments.before(self._begun(last)) if step else self.moments.after(last)
            if self.ids is not None:
                ids = self.ids.after(last), self.ids.before(self._begun(last)).ids if step else None
            kept = begun, ids, self.moments.stored(fitted), self.calibration.stored()
            self.saved = self.checkpoints.save(last, step, self.watch.state(), good, *kept)

    def save_window(self, last: date, first: date) -> None:
        """Saves the state at the end of a window.

        Args:
            last: The window's last day.
            first: The first day whose rows are read from now on.
        """
        if self.reader.counted is not None:
            counted = self.reader.counted.forget(first)
            if self._run.writable:
                self.counters.save(last, counted)  # First: a checkpoint says that they are there.
        if self.ids is not None:
            self.ids.forget(last)
        self.save(last, 0)
        if self.reader.counted is not None and self._run.writable:
            self.counters.prune({saved.last for saved in self.checkpoints.all()})
        while self.counters.notes:
            line = self.counters.notes.popleft()
            self._run.add_event("counted_again", reason=line)
            self._report.found(line)

    def save_first(self) -> None:
        """Saves the untrained model, if nothing has been saved yet, so that a recovery has a checkpoint."""
        if self.agreement.decide(lambda: self.saved is None):
            self.save(None, 0, good=True)

    def mark_good(self, last: date) -> None:
        """Marks the model of the window that ends at `last` as good, and its checkpoint, if that is the newest."""
        self.watch.jumped = False
        if self._run.writable and self.saved and (self.saved.last, self.saved.step) == (last, 0):
            self.checkpoints.mark_good(self.saved)
            self.saved = self.saved._replace(good=True)

    def restore(self, number: int | None = None) -> None:
        """Restores the newest checkpoint that can be read, or the one with a number; sets damaged ones aside."""
        damaged: list[tuple[Path, str]] = []
        self.saved = self.checkpoints.restore(lambda path, reason: damaged.append((path, reason)), number)
        self.learner.set_rates()
        found = self.saved.number if self.saved else 0
        if self.saved is not None and self.ids is not None:
            before, self._restored_ids = self.checkpoints.ids(found, self.ids.dtypes)
            self.ids.restore(self.saved.last, before)
        if self.saved is not None:
            inside = self.saved.step > 0
            fitted = self.moments.restore(self.saved.last, inside, self.saved.moments)
            self._restored_moments = fitted if inside else None
        self.learner.model.statistics = self.fitted().statistics
        self.calibration.restore(self.checkpoints.calibration(self.saved) if self.saved else None)
        if len(set(numbers := self.agreement.exchange(found))) > 1:
            raise InputError(
                f"{self._run.path}: the workers find different checkpoints, in their order {numbers}; "
                "--model-dir must be a directory that all of them share and can read"
            )
        for path, reason in damaged:
            self._run.add_event("checkpoint_damaged", checkpoint=path.name, reason=reason, restored=found)
            self._report.damaged(path, reason, found)
            if self._run.writable:
                self.checkpoints.set_aside(path)
        watch = self.saved.watch if self.saved else None
        self.watch = LossWatch(self._config.divergence, self._config.tasks, watch)
        if self.saved and self.saved.good:
            self.watch.jumped = False  # The metrics that showed it came after the checkpoint.
