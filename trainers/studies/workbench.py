"""Many runs in one process: the log is read once, and runs of one shape share their variables and graphs."""

from collections.abc import Iterator
from datetime import date

import keras
import numpy as np
import tensorflow as tf

from tfstable.data.log import DayLog
from tfstable.data.window import Arrays, Batches, Window, windows
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader
from tfstable.optimizers import Composite
from trainers.build.model import make_model
from trainers.build.optimizer import decays_in_windows, window_rates
from trainers.build.shuffle import make_shuffle
from trainers.build.steps import Steps
from trainers.config import Config, TrainerConfig
from trainers.config.optimizer import OptimizerConfig
from trainers.training.check import check_log
from trainers.training.first_window import fit_statistics


class Workbench:
    """What runs on a log have in common.

    Args:
        config: The config of all runs, but for what each changes in model, optimizer and trainer.
        log: The log.
    """

    def __init__(self, config: Config, log: DayLog):
        self.config, self.log = config, log
        if config.trainer.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.statistics = fit_statistics(config, log, check_log(config, log))
        preprocessor = Preprocessor(config.features, self.statistics)
        self.reader = ExampleReader(log, preprocessor, self.statistics, config.tasks, config.data.weight)
        # Each keeps its preprocessed rows, where they fit data.buffer_rows: later runs read nothing.
        self._batches: dict[tuple, Batches] = {}

    def batches(self, days: tuple[date, ...], size: int, trainer: TrainerConfig | None = None) -> Batches:
        """Returns the batches over `days`, in the order of `trainer`; the same object for the same arguments."""
        shuffle = (trainer or self.config.trainer).shuffle
        if (days, size, shuffle) not in self._batches:
            buffer_rows = self.config.data.buffer_rows
            self._batches[days, size, shuffle] = self.reader.batches(days, size, buffer_rows, make_shuffle(shuffle))
        return self._batches[days, size, shuffle]

    def windows(self, trainer: TrainerConfig, last: date) -> list[tuple[Window, int]]:
        """Returns the windows that end before `last`, each with its steps."""
        todo = [w for w in windows(self.log.days, trainer.window_days, trainer.stride_days) if w.last < last]
        return [(window, self._steps(window.days, trainer)) for window in todo]

    def feed(self, todo: list[tuple[Window, int]], trainer: TrainerConfig, seed: int) -> Iterator:
        """Returns an iterator over the batches of `todo`, as `Steps.train` takes it, shuffled by `seed`."""
        return iter(self.reader.dataset(self._stream(todo, trainer, seed), trainer.batch_size))

    @staticmethod
    def rate_factors(optimizer: OptimizerConfig, numbers: np.ndarray, total: int) -> tf.Tensor | None:
        """Returns what the batches `numbers` of a window of `total` multiply each group's rate by, `(batches, groups)`.

        None where it is the same in every step.
        """
        return (
            tf.constant(window_rates(optimizer, numbers, total), tf.float32) if decays_in_windows(optimizer) else None
        )

    def predict(self, steps: Steps, day: date, size: int) -> dict[str, np.ndarray]:
        """Returns each task's predictions for every row of a day, in batches of `size`."""
        batches = self.batches((day,), size)
        return steps.predict(self.reader.dataset(batches.one_pass(None), size), batches.rows)

    def begin(self, config: Config, model: keras.Model, optimizer: Composite, initial: list[tf.Tensor]):
        """Sets every variable to what a run of `config` starts from.

        Weights are drawn in the config's precision.

        Args:
            config: The config; its seed draws the weights.
            model, optimizer: Of the config's shape.
            initial: The optimizer's variables when it was new.
        """
        keras.utils.set_random_seed(config.trainer.seed)
        for variable, fresh in zip(model.variables, make_model(config, self.statistics).variables, strict=True):
            variable.assign(tf.cast(fresh.value, variable.dtype))
        for variable, value in zip(optimizer.variables, initial, strict=True):
            variable.assign(value)

    def _steps(self, days: tuple[date, ...], trainer: TrainerConfig) -> int:
        return trainer.steps or max(1, round(trainer.passes * self.batches(days, trainer.batch_size, trainer).steps))

    def _stream(self, todo: list[tuple[Window, int]], trainer: TrainerConfig, seed: int) -> Iterator[Arrays]:
        for window, total in todo:
            every = self.batches(window.days, trainer.batch_size, trainer).forever((seed, window.last.toordinal()))
            for _ in range(total):
                yield next(every)
