"""Every optimizer of the package, as the contract tests use them: no argument at its default."""

import keras

from tfstable.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdaptiveGradient,
    AdaX,
    Clippy,
    ClippyAdagrad,
    ClippyAdam,
    Composite,
    Ema,
    GradientNorm,
    Group,
    TrustRatio,
)

SHARED = {"on_nonfinite": "raise", "track_every": 2, "name": "mine"}


def schedule():
    return keras.optimizers.schedules.PolynomialDecay(0.25, decay_steps=8, end_learning_rate=0.125)


OPTIMIZERS = {
    "Adagrad": lambda: Adagrad(schedule(), 0.2, 1e-3, clipping=Clippy(0.25, 0.0625), **SHARED),
    "Adam": lambda: Adam(0.125, 0.8, 0.99, 1e-4, clipping=AdaptiveGradient(0.5, 0.01), **SHARED),
    "SGD": lambda: SGD(0.125, 0.9, True, clipping=GradientNorm(0.5), **SHARED),
    "AdaX": lambda: AdaX(0.125, 0.8, 1e-3, 1e-6, clipping=TrustRatio(0.5, scope="row"), **SHARED),
    "ClippyAdagrad": lambda: ClippyAdagrad(
        0.25,
        0.25,
        0.0625,
        0.01,
        initial_accumulator=0.2,
        epsilon=1e-3,
        delayed_accumulator=True,
        clip_accumulator_update=True,
        scope="row",
        **SHARED,
    ),
    "ClippyAdam": lambda: ClippyAdam(
        schedule(), 0.25, 0.0625, beta_1=0.8, beta_2=0.99, epsilon=1e-4, scope="element", **SHARED
    ),
    "Composite": lambda: Composite(
        [Group("embeddings", Adagrad(0.25)), Group("kernel|bias", ClippyAdam(schedule(), weight_decay=0.01))],
        on_nonfinite="raise",
        averaging=Ema(3),
        name="mine",
    ),
}
