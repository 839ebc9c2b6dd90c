"""Many trainings in one process: the log is read once, and trainings of one shape share their variables and graphs."""

import os
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.data.log import DayLog
from tfstable.data.maturity import UsedLabels
from tfstable.data.window import Arrays, Batches, Window, windows
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.living_ids import LivingIds
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader
from tfstable.specs import living
from trainers.build.learner import Learner
from trainers.build.model import make_model
from trainers.build.renewal import renew
from trainers.build.shuffle import make_shuffle
from trainers.config import Config, ShuffleConfig, TrainerConfig
from trainers.devices.memory import share_heap
from trainers.training.check import check_log
from trainers.training.first_window import fit_statistics, value_checks
from trainers.training.plan import Plan, days_read, plan, stream


class IdsOf(NamedTuple):
    """The rows of ids at one time.

    Attributes:
        key: Tells the times apart.
        tables: By table.
    """

    key: Hashable
    tables: Mapping[str, IdTable]


NO_IDS = IdsOf(None, {})


class Workbench:
    """Shared by all trainings on a log: reader, statistics, and the learners of earlier trainings.

    Args:
        config: The config of all trainings, but for what each changes in model, optimizer and trainer.
        log: The log.
        kept: Learners kept with their graphs; the oldest go first.

    Attributes:
        remarks: Remarks on the first window for the user, one line each.
    """

    def __init__(self, config: Config, log: DayLog, kept: int):
        self.config, self.log, self._kept = config, log, kept
        share_heap()
        pa.set_cpu_count(config.data.reader_threads or os.cpu_count() or 1)
        if config.trainer.deterministic:
            tf.config.experimental.enable_op_determinism()
        checks = value_checks(config)
        self.statistics = fit_statistics(config, log, check_log(config, log), checks)
        self.remarks = [*self.statistics.remarks, *map(str, checks.infinite())]
        preprocessor = Preprocessor(config.features, self.statistics)
        of_rows = config.tasks, config.data.weight, value_checks(config), config.trainer.shuffle.by
        self.reader = ExampleReader(log, preprocessor, self.statistics, *of_rows)
        # Each keeps its preprocessed rows, where they fit data.buffer_rows: later trainings read nothing.
        self._batches: dict[Hashable, Batches] = {}
        self._living: dict[tuple[int, int], LivingIds] = {}  # By days of a window and stride.
        self._learners: dict[Hashable, tuple[Learner, list[tf.Tensor]]] = {}

    def batches(
        self,
        days: tuple[date, ...],
        size: int,
        shuffle: ShuffleConfig | None = None,
        ids: IdsOf = NO_IDS,
        used: UsedLabels | None = None,
    ) -> Batches:
        """Returns the batches over `days`; the same object for the same arguments.

        Args:
            days: Days of the log.
            size: Rows of a batch.
            shuffle: The order; None: the config's.
            ids: What `ids` returns.
            used: By day, the tasks whose labels are used; None: all.
        """
        shuffle = shuffle or self.config.trainer.shuffle
        key = days, size, shuffle, ids.key, str(used)
        if key not in self._batches:
            rows, order = self.config.data.buffer_rows, make_shuffle(shuffle)
            self._batches[key] = self.reader.batches(days, size, rows, order, ids=lambda: ids.tables, used=used)
        return self._batches[key]

    def ids(self, trainer: TrainerConfig, window: Window | None = None, trained: bool = False) -> IdsOf:
        """Returns the rows of ids with which a window trains, or which it leaves; of no window, those before the first.

        Args:
            trainer: The trainer of the windows, of which one after the other is asked for.
            window: The window.
            trained: Whether it is trained.
        """
        if not living(self.config.features):
            return NO_IDS
        maps, last = self._maps(trainer), None if window is None else window.last
        key = trainer.window_days, trainer.stride_days, last, trained
        if window is None or trained:
            return IdsOf(key, maps.after(last).tables)
        return IdsOf(key, maps.before(window).ids.tables)

    def renew(self, learner: Learner, trainer: TrainerConfig, window: Window) -> None:
        """Gives rows to the ids that are new in a window, before it trains."""
        if living(self.config.features):
            renew(learner, self._maps(trainer).before(window).given, trainer.seed, window.last)

    def _maps(self, trainer: TrainerConfig) -> LivingIds:
        key = trainer.window_days, trainer.stride_days
        if key not in self._living:
            self._living[key] = LivingIds(self.log, self.config.features, self.statistics, *key)
        return self._living[key]

    def plans(self, trainer: TrainerConfig, last: date) -> list[Plan]:
        """Returns the plan of each window that ends before `last`."""
        todo = windows(self.log.days, trainer.window_days, trainer.stride_days)
        size, shuffle = trainer.batch_size, trainer.shuffle
        plans = []
        for window in todo:
            if window.last < last:
                days, used = days_read(self.config, self.log, window)
                plans.append(plan(window, self.batches(days, size, shuffle, self.ids(trainer, window), used), trainer))
        return plans

    def feed(
        self,
        plans: list[Plan],
        trainer: TrainerConfig,
        seed: int,
        change: Callable[[Iterator[Arrays]], Generator[Arrays, None, None]] | None = None,
    ) -> Iterator[Any]:
        """Returns an iterator over the batches of `plans`, as `train_window` takes it, shuffled by `seed`.

        Args:
            plans: The windows' plans.
            trainer: The trainer of the windows.
            seed: Shuffles the rows.
            change: Changes the packed batches; None: leaves them as they are.
        """
        batches = stream(plans, seed, lambda each: np.arange(each.total))
        if change is not None:
            batches = change(batches)
        return iter(self.reader.dataset(batches, trainer.batch_size, prefetch=self.config.data.prefetch))

    def predict(self, learner: Learner, day: date, config: Config, window: Window) -> dict[str, np.ndarray]:
        """Returns each task's predictions for every row of a day, `(rows,)`.

        Args:
            learner: The learner.
            day: The day.
            config: The config of its training.
            window: The window that it was trained on last.
        """
        size = config.evaluation.batch_size
        batches = self.batches((day,), size, ids=self.ids(config.trainer, window, trained=True))
        with learner.optimizer.averaged_weights():
            return learner.steps.predict(self.reader.dataset(batches.one_pass(None), size), batches.rows)

    def learner(self, config: Config, shape: Hashable, make: Callable[[], Learner]) -> Learner:
        """Returns a learner whose variables are as at the start of a training of `config`.

        Args:
            config: The config; its seed draws the weights, in its precision.
            shape: Equal for trainings that may share variables and graphs.
            make: Makes a learner of that shape.
        """
        if shape not in self._learners:
            while len(self._learners) >= self._kept:
                del self._learners[next(iter(self._learners))]
            made = make()
            self._learners[shape] = made, [tf.identity(variable.value) for variable in made.optimizer.variables]
        learner, initial = self._learners[shape] = self._learners.pop(shape)  # Now the newest.
        keras.utils.set_random_seed(config.trainer.seed)
        fresh = make_model(config, self.statistics).variables
        for variable, drawn in zip(learner.model.variables, fresh, strict=True):
            variable.assign(tf.cast(drawn.value, variable.dtype))
        for variable, value in zip(learner.optimizer.variables, initial, strict=True):
            variable.assign(value)
        return learner
