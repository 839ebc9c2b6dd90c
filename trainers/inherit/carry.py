"""Carries a plan out: into the variables of a model and its optimizer."""

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tfstable.optimizers import Composite, Group
from tfstable.optimizers.norm_clipping import NormClipping
from tfstable.optimizers.rule import RuleOptimizer
from trainers.build.learner import Learner
from trainers.inherit.names import in_model
from trainers.inherit.plan import Plan

Means: TypeAlias = Mapping[str, np.ndarray]
COUNTS = ("covered", "snapshots")  # Of Ema and Swa.
FACTORS = {"row": -1, "column": -2}  # Adafactor's slots, and the axis of the weight over which each is a mean.


def keeps_average(plan: Plan, learner: Learner) -> bool:
    """Whether source and optimizer average the weights in one way, so that the average goes on."""
    kinds = {name for name in COUNTS if plan.source.count(name) is not None}
    names = {_below(variable) for variable in learner.optimizer.variables}
    return bool(kinds) and kinds <= names


def carry_out(
    plan: Plan, learner: Learner, strategy: tf.distribute.Strategy, slots: bool, means: Means, averaged_means: Means
) -> str:
    """Gives a new learner what the plan says.

    Args:
        plan: The plan.
        learner: Model and optimizer, new.
        strategy: Whose scope they were made under.
        slots: Whether to take over the optimizer's state, its count of steps and the average of the weights.
        means, averaged_means: What the plan's folds ask for, by the source's weights and by their average.

    Returns:
        A line on the optimizer's state.
    """
    source, model, optimizer = plan.source, learner.model, learner.optimizer
    names = in_model(variable.path for variable in model.variables)
    average = slots and keeps_average(plan, learner)
    read = partial(source.weight, averaged=not average)
    means = means if average else averaged_means
    with strategy.scope():
        values = {}
        for variable in model.variables:
            path = names[variable.path]
            value = plan.weight(path, variable.numpy(), read, means)
            variable.assign(value)
            if average:
                values[path] = value
        steps = source.count("iteration") if slots else None
        if steps is None:
            return "the optimizer's state is made anew"
        optimizer.iterations.assign(steps)
        if average:
            _carry_average(plan, optimizer, names, values, averaged_means, steps)
        copied = [_carry_group(plan, group, names, steps) for group in optimizer.groups]
    parts = [f"of {group.variables}" for group, is_copied in zip(optimizer.groups, copied, strict=True) if is_copied]
    if not parts:
        return "the optimizer's state is made anew: another rule"
    return f"the optimizer's state is copied, {' and '.join(parts)}, after {steps:,} steps"


def _carry_group(plan: Plan, group: Group, names: Mapping[str, str], steps: int) -> bool:
    """Gives a group of variables the state of the source's optimizer; returns whether that has one of the same rule."""
    optimizer, found = group.optimizer, not group.optimizer.slots()
    state = {_below(variable): variable for variable in optimizer.variables}

    def read(kind: str, path: str) -> np.ndarray | None:
        nonlocal found
        value = plan.source.slot(path, kind)
        value = _sums_of(plan, path, kind) if value is None else value
        found = found or value is not None
        return value

    for path, name in names.items():
        for kind in (*optimizer.slots(), "step"):
            if (slot := state.get(f"{_flat(path)}_{kind}")) is not None:
                carry = partial(plan.factor, axis=FACTORS[kind]) if kind in FACTORS else plan.slot
                slot.assign(carry(name, slot.numpy(), partial(read, kind)))
    if found:
        optimizer.iterations.assign(steps)
        _carry_norms(plan, optimizer, state, names)
    return found


def _carry_norms(
    plan: Plan, optimizer: RuleOptimizer, state: Mapping[str, keras.Variable], names: Mapping[str, str]
) -> None:
    """Gives a clipping the norms that the source's remembers, if both are over the same variables."""
    own = [names[variable.path] for variable in optimizer._trainable_variables]
    if isinstance(optimizer.clipping, NormClipping) and set(own) <= plan.source.shapes().keys():
        kind = optimizer.clipping.slot
        there = plan.source.slot(own[0], kind)
        here = state[f"{_flat(optimizer._trainable_variables[0].path)}_{kind}"]
        if there is not None and there.shape == tuple(here.shape):
            here.assign(there)


def _sums_of(plan: Plan, path: str, kind: str) -> np.ndarray | None:
    """Adagrad's sums in the form that the source does not have: of a row's mean square, or of each weight's."""
    if kind == "row_accumulator" and (sums := plan.source.slot(path, "accumulator")) is not None:
        return sums.mean(axis=tuple(range(1, sums.ndim)), keepdims=True)
    if kind == "accumulator" and (sums := plan.source.slot(path, "row_accumulator")) is not None:
        return np.broadcast_to(sums, plan.source.shapes()[path])
    return None


def _carry_average(
    plan: Plan,
    optimizer: Composite,
    names: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    means: Means,
    steps: int,
) -> None:
    """Gives an optimizer the source's average of the weights; of new parts it is the weight.

    The state goes over bit by bit. But a mean joins the average as it stands, so that covers every step then.
    """
    state = {_below(variable): variable for variable in optimizer.variables}
    stands = bool(plan.folds)
    of_average = partial(plan.source.weight, averaged=True) if stands else partial(plan.source.slot, name="average")
    for path, name in names.items():
        if (slot := state.get(f"{_flat(path)}_average")) is not None:
            slot.assign(plan.weight(name, values[name].astype(slot.dtype), of_average, means))
        for kind in ("average_covered", "average_before"):  # Of each row of a table.
            if (slot := state.get(f"{_flat(path)}_{kind}")) is not None:
                count = plan.slot(name, slot.numpy(), partial(plan.source.slot, name=kind))
                slot.assign(np.full_like(count, steps) if stands and kind == "average_covered" else count)
    for name in COUNTS:
        if name in state:
            state[name].assign(steps if stands and name == "covered" else plan.source.count(name))


def _below(variable: keras.Variable) -> str:
    return variable.path.partition("/")[2]


def _flat(path: str) -> str:
    return path.replace("/", "_").replace(":", "_")
