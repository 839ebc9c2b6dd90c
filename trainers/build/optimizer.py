"""From the config's optimizer section to an optimizer."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfstable.optimizers import (
    SGD,
    AdaGC,
    AdaGN,
    Adagrad,
    Adam,
    AdaptiveGradient,
    AdaX,
    Clippy,
    ClippyAdagrad,
    Composite,
    Ema,
    GradientNorm,
    Group,
    Muon,
    Swa,
    TrustRatio,
    WarmupDecay,
    ZClip,
)
from tfstable.optimizers.schedule import window_decay
from tfstable.optimizers.tables import is_embedding_table
from trainers.config import EmaConfig, OptimizerConfig, RuleConfig, SwaConfig
from trainers.config.clipping import CLIPPY_OF_ADAGRAD, ClippyConfig

RULES = {"adagrad": Adagrad, "adam": Adam, "sgd": SGD, "adax": AdaX, "muon": Muon}
CLIPPINGS = {
    "clippy": Clippy,
    "gradient_norm": GradientNorm,
    "adaptive_gradient": AdaptiveGradient,
    "trust_ratio": TrustRatio,
    "adagc": AdaGC,
    "zclip": ZClip,
    "adagn": AdaGN,
}


def make_optimizer(
    config: OptimizerConfig, batch_size: int, variables: Sequence[Any] = (), track_every: int = 0
) -> Composite:
    """Returns the groups' optimizers as one, under one finite flag, with the average of the weights.

    Args:
        config: The config's optimizer section.
        batch_size: Examples of a step.
        variables: The variables to update: they show which of `config.groups` are of tables.
        track_every: See `RuleOptimizer`.
    """
    groups = []
    for name, rule in _groups(config).items():
        if rule.rule == "adagrad" and _is_of_tables(name, variables):
            rule = rule.model_copy(update={"initial_accumulator": rule.tables_accumulator(batch_size)})
        groups.append(Group(name, _rule(rule, track_every)))
    return Composite(
        groups,
        on_nonfinite=config.on_nonfinite,
        averaging=None if config.averaging is None else _average(config.averaging, batch_size),
    )


def constant_rates(config: OptimizerConfig) -> list[float | None]:
    """Returns the learning rate of each group; None where it follows a schedule."""
    rates = map(_rate, _groups(config).values())
    return [rate if isinstance(rate, float) else None for rate in rates]


def decays_in_windows(config: OptimizerConfig) -> bool:
    """Whether the rate of a group falls inside each window."""
    return any(rule.schedule.window_end is not None for rule in _groups(config).values())


def window_rates(config: OptimizerConfig, numbers: np.ndarray, total: int) -> np.ndarray:
    """Returns the factor of each group's rate inside a window, `(steps, groups)`.

    Args:
        config: The config's optimizer section.
        numbers: `(steps,)` numbers of batches in their window.
        total: Batches of the window.
    """
    ends = [rule.schedule.window_end for rule in _groups(config).values()]
    return np.stack([window_decay(numbers / total, 1.0 if end is None else end) for end in ends], axis=1)


def _groups(config: OptimizerConfig) -> dict[str, RuleConfig]:
    return config.groups or {"embeddings": config.embeddings, "dense": config.dense}


def _is_of_tables(group: str, variables: Sequence[Any]) -> bool:
    if group in ("embeddings", "dense"):
        return group == "embeddings"
    return all(is_embedding_table(variable) for variable in variables if re.search(group, variable.path))


def _average(config: EmaConfig | SwaConfig, batch_size: int) -> Ema | Swa:
    if isinstance(config, SwaConfig):
        return Swa(config.horizon_windows)
    return Ema(config.horizon(batch_size))


def _rule(config: RuleConfig, track_every: int) -> keras.optimizers.Optimizer:
    own = config.model_dump(exclude={"rule", "learning_rate", "schedule", "clipping"}, exclude_none=True)
    if isinstance(config.clipping, ClippyConfig) and config.clipping.of_adagrad:
        return _clippy_adagrad(config, config.clipping, own, track_every)
    keys = {"kind", *CLIPPY_OF_ADAGRAD}
    clipping = config.clipping and CLIPPINGS[config.clipping.kind](**config.clipping.model_dump(exclude=keys))
    return RULES[config.rule](_rate(config), clipping=clipping, track_every=track_every, **own)


def _clippy_adagrad(
    config: RuleConfig, clippy: ClippyConfig, own: dict[str, Any], track_every: int
) -> keras.optimizers.Optimizer:
    return ClippyAdagrad(
        _rate(config),
        relative_threshold=clippy.relative,
        absolute_threshold=clippy.absolute,
        accumulator_relative_threshold=clippy.accumulator_relative,
        delayed_accumulator=clippy.delayed_accumulator,
        clip_accumulator_update=clippy.clip_accumulator or clippy.accumulate == "clipped",
        scope=clippy.scope,
        track_every=track_every,
        **own,
    )


def _rate(config: RuleConfig) -> float | WarmupDecay:
    schedule = config.schedule
    if not schedule.warmup_steps and schedule.decay == "none":
        return config.learning_rate
    return WarmupDecay(config.learning_rate, schedule.warmup_steps, schedule.decay, schedule.decay_steps or 1)
