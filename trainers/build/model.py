"""From the config's model section to a model."""

import importlib
import inspect
from collections.abc import Callable

import keras

from tfstable.errors import InputError
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.models.penalised import takes_move
from tfstable.models.pretrained import load_pretrained
from tfstable.specs import MOVING
from trainers.config import Config


def make_model(
    config: Config,
    statistics: Statistics,
    before_build: Callable[[RankingModel], None] = lambda model: None,
    pretrained: bool = True,
) -> RankingModel:
    """Returns the model, built, with the run's precision.

    Args:
        config: The config.
        statistics: The statistics of the first window.
        before_build: May replace layers of it.
        pretrained: Whether tables start from their files; needless where a checkpoint holds the tables.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.trainer.precision)  # Layers take it when they are made.
    try:
        model = model_class(config)(config.features, config.tasks, statistics, **config.model.arguments)
        before_build(model)
        model.build()
        if pretrained:
            load_pretrained(model)
    finally:
        keras.config.set_dtype_policy(before)
    return model


def model_class(config: Config) -> type[RankingModel]:
    """Imports the class that the config names.

    Raises:
        InputError: If it cannot be imported, is not a RankingModel, or does not take `model.options`.
    """
    path = config.model.model_class
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        remedy = "is its package on PYTHONPATH?"
        if path.startswith("trainers."):
            remedy = "`trainers` is tfstable's own package; give yours another name"
        raise InputError(f"model.class: {path} cannot be imported ({error}); {remedy}") from None
    if not (isinstance(found, type) and issubclass(found, RankingModel)):
        raise InputError(f"model.class: {path} is not a subclass of tfstable.models.RankingModel")
    constructors = [base.__init__ for base in found.__mro__ if issubclass(base, RankingModel)]
    parameters = [p for constructor in constructors for p in inspect.signature(constructor).parameters.values()]
    known = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    if unknown := sorted(config.model.options.keys() - known):
        raise InputError(f"model.options.{unknown[0]}: not an argument of {path}")
    penalty = config.model.penalty
    if penalty is not None and penalty.kind in MOVING and not takes_move(found):
        raise InputError(
            f"model.penalty: {penalty.kind} moves the input vectors of the rows, but {path}.call takes no argument "
            "`move`; add move=None to it and pass it on to super().call, or drop the penalty"
        )
    return found
