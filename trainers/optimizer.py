"""From the config's optimizer section to an optimizer."""

import keras

from tfstable.optimizers import Adagrad, ClippyAdagrad, Composite, Group
from trainers.config import AdagradConfig, OptimizerConfig


def make_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """Returns one optimizer for the embedding tables and one for all other variables, as one."""
    return Composite([Group("embeddings", _adagrad(config.embeddings)), Group("dense", _adagrad(config.dense))])


def _adagrad(config: AdagradConfig) -> keras.optimizers.Optimizer:
    common = {"learning_rate": config.learning_rate, "initial_accumulator": config.initial_accumulator}
    if config.clipping is None:
        return Adagrad(**common)
    return ClippyAdagrad(
        **common, relative_threshold=config.clipping.relative, absolute_threshold=config.clipping.absolute
    )
