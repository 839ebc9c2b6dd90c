"""A model with its optimizer and its compiled steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from tfstable.analysis import Rotations, scale_invariant
from tfstable.errors import InputError
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.optimizers import Composite
from trainers.build.groups import named_groups
from trainers.build.model import make_model
from trainers.build.optimizer import constant_rates, decays_in_windows, make_optimizer, window_rates
from trainers.build.steps import Steps
from trainers.config import Config, OptimizerConfig


@dataclass
class Learner:
    """A model, its optimizer and its compiled steps.

    Attributes:
        model: The model, built.
        optimizer: The optimizer, built on the model's trainable variables.
        steps: The compiled steps of both.
        rates: The config's optimizer section, from which the learning rates come.
        make_steps: Makes `steps`.
        rate_factor: Multiplies all learning rates of the config.
    """

    model: RankingModel
    optimizer: Composite
    steps: Steps
    rates: OptimizerConfig
    make_steps: Callable[[], Steps]
    rate_factor: float = 1.0

    def set_rates(self) -> None:
        """Sets the learning rates of the config; a checkpoint brings those that it was saved with."""
        for optimizer, rate in zip(self.optimizer.optimizers, constant_rates(self.rates), strict=True):
            if rate is not None:
                optimizer.learning_rate = rate

    def retrace(self) -> None:
        """Forgets the compiled steps. Traced for two sizes of batches, they would differ from those of one size."""
        self.steps = self.make_steps()

    def set_rate_factor(self, factor: float) -> None:
        """Multiplies the learning rates of the config by `factor`, from the next step on."""
        self.rate_factor = factor
        for optimizer in self.optimizer.optimizers:
            optimizer.rate_factor.assign(factor)

    def rate_factors(self, numbers: np.ndarray, total: int) -> tf.Tensor | None:
        """Returns the factor of each group's learning rate in the batches `numbers` of a window of `total`.

        Returns:
            `(batches, groups)` float32, or None if no group's rate decays inside a window.
        """
        if not decays_in_windows(self.rates):
            return None
        return tf.constant(self.rate_factor * window_rates(self.rates, numbers, total), tf.float32)

    def trace(self, batches: Iterator[Any]) -> None:
        """Compiles the train step without training. This takes as long as many steps."""
        groups = len(self.optimizer.optimizers)
        factors = tf.TensorSpec([None, groups], tf.float32) if decays_in_windows(self.rates) else None
        self.steps.trace(batches, factors)


def make_learner(
    config: Config,
    statistics: Statistics,
    strategy: tf.distribute.Strategy | None = None,
    *,
    track_every: int | None = None,
    before_build: Callable[[RankingModel], None] | None = None,
    make_steps: Callable[..., Steps] = Steps,
    pretrained: bool = True,
) -> Learner:
    """Returns the model, optimizer and steps of a config.

    Args:
        config: The config.
        statistics: The statistics of the first window.
        strategy: The strategy under whose scope the variables are made; None: the current one.
        track_every: Steps between two diagnostics of the optimizer; None: `trainer.track_every`.
        before_build: Called with the model before its variables exist; None: nothing.
        make_steps: Makes the steps from strategy, model and optimizer.
        pretrained: As of `make_model`.

    Raises:
        InputError: If a variable belongs to no group of `optimizer.groups`, or to several, or a group has none.
    """
    strategy = strategy or tf.distribute.get_strategy()
    every = config.trainer.track_every if track_every is None else track_every
    with strategy.scope():
        model = make_model(config, statistics, before_build or (lambda model: None), pretrained)
        variables = model.trainable_variables
        named = named_groups(config.optimizer, model)
        optimizer = make_optimizer(config.optimizer, config.trainer.batch_size, variables, every, named)
        try:
            optimizer.build(variables)
        except ValueError as error:
            raise InputError(f"optimizer.groups: {error}") from None
    turning = scale_invariant(model) if every and not isinstance(strategy, tf.distribute.TPUStrategy) else []
    if turning:  # Not on TPUs, which read no weights between steps.
        make_steps = partial(make_steps, rotations=Rotations(turning, optimizer, every))
    steps = partial(make_steps, strategy, model, optimizer)
    return Learner(model, optimizer, steps(), config.optimizer, steps)
