"""Carries a plan out: into the variables of a model and its optimizer."""

from collections.abc import Mapping
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from trainers.build.learner import Learner
from trainers.inherit.names import in_model
from trainers.inherit.plan import Plan

COUNTS = ("covered", "snapshots")  # Of Ema and Swa.


def keeps_average(plan: Plan, learner: Learner) -> bool:
    """Whether source and optimizer average the weights in one way, so that the average goes on."""
    kinds = {name for name in COUNTS if plan.source.count(name) is not None}
    names = {_below(variable) for variable in learner.optimizer.variables}
    return bool(kinds) and kinds <= names


def carry_out(
    plan: Plan, learner: Learner, strategy: tf.distribute.Strategy, slots: bool, means: Mapping[str, np.ndarray]
) -> str:
    """Gives a new learner what the plan says.

    Args:
        plan: The plan.
        learner: Model and optimizer, new.
        strategy: Whose scope they were made under.
        slots: Whether to take over the optimizer's state, its count of steps and the average of the weights.
        means: What the plan's folds ask for.

    Returns:
        A line on the optimizer's state.
    """
    source, model, optimizer = plan.source, learner.model, learner.optimizer
    names = in_model(variable.path for variable in model.variables)
    average = slots and keeps_average(plan, learner)
    read = partial(source.weight, averaged=not average)
    state = {_below(variable): variable for variable in optimizer.variables}
    kinds = {"step", *(name for group in optimizer.optimizers for name in group.slots())}
    kinds |= {"average", "average_covered"} if average else set()
    with strategy.scope():
        for variable in model.variables:
            path = names[variable.path]
            value = plan.weight(path, variable.numpy(), read, means)
            variable.assign(value)
            flat = variable.path.replace("/", "_").replace(":", "_")
            for name in kinds if slots else ():
                if (slot := state.get(f"{flat}_{name}")) is None:
                    continue
                of_slot = partial(source.slot, name=name)
                if name == "average":  # Of new parts it is their weight.
                    slot.assign(plan.weight(path, value.astype(slot.dtype), of_slot, means))
                else:
                    slot.assign(plan.slot(path, slot.numpy(), of_slot))
        if not slots or (steps := source.count("iteration")) is None:
            return "the optimizer's state is made anew"
        for variable in optimizer.variables:
            if _below(variable) == "iteration":
                variable.assign(steps)
            elif average and _below(variable) in COUNTS:
                variable.assign(source.count(_below(variable)))
    return f"the optimizer's state is copied, after {steps:,} steps"


def _below(variable: keras.Variable) -> str:
    return variable.path.partition("/")[2]
