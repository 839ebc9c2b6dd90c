"""From the config's optimizer section to an optimizer."""

import keras

from tfstable.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdaptiveGradient,
    AdaX,
    Clippy,
    Composite,
    Ema,
    GradientNorm,
    Group,
    Swa,
    TrustRatio,
    WarmupDecay,
)
from trainers.optimizer_config import EmaConfig, OptimizerConfig, RuleConfig, SwaConfig

RULES = {"adagrad": Adagrad, "adam": Adam, "sgd": SGD, "adax": AdaX}
CLIPPINGS = {
    "clippy": Clippy,
    "gradient_norm": GradientNorm,
    "adaptive_gradient": AdaptiveGradient,
    "trust_ratio": TrustRatio,
}


def make_optimizer(config: OptimizerConfig, track_every: int = 0, batch_size: int = 1) -> Composite:
    """Returns the groups' optimizers as one, under one finite flag, with the average of the weights.

    Args:
        config: The config's optimizer section.
        track_every: As of `RuleOptimizer`.
        batch_size: Examples of a step.
    """
    groups = config.groups or {"embeddings": config.embeddings, "dense": config.dense}
    return Composite(
        [Group(name, _rule(rule, track_every)) for name, rule in groups.items()],
        on_nonfinite=config.on_nonfinite,
        averaging=config.averaging and _average(config.averaging, batch_size),
    )


def _average(config: EmaConfig | SwaConfig, batch_size: int) -> Ema | Swa:
    if isinstance(config, SwaConfig):
        return Swa(config.horizon_windows)
    # Over less than two steps there is nothing to average.
    return Ema(config.horizon_steps or max(2, round(config.horizon_examples / batch_size)))


def _rule(config: RuleConfig, track_every: int) -> keras.optimizers.Optimizer:
    own = config.model_dump(exclude={"rule", "learning_rate", "schedule", "clipping"}, exclude_none=True)
    clipping = config.clipping and CLIPPINGS[config.clipping.kind](**config.clipping.model_dump(exclude={"kind"}))
    return RULES[config.rule](_rate(config), clipping=clipping, track_every=track_every, **own)


def _rate(config: RuleConfig) -> float | WarmupDecay:
    schedule = config.schedule
    if not schedule.warmup_steps and schedule.decay == "none":
        return config.learning_rate
    return WarmupDecay(config.learning_rate, schedule.warmup_steps, schedule.decay, schedule.decay_steps or 1)
