"""Clipped descent on a quadratic."""

from pathlib import Path

import keras
import matplotlib.pyplot as plt
import tensorflow as tf

from tfstable.optimizers import SGD, AdaptiveGradient, Clippy, GradientNorm, TrustRatio

RESULTS = Path(__file__).parents[1] / "results"


def quadratic():
    """Figure 3 of the paper: f(w) = (20 w_1^2 + w_2^2) / 2. Descent diverges beyond 2/20; clipped, it does not."""
    picture, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
    treatments = {
        "none": None,
        "GC": GradientNorm(1.0),
        "AGC": AdaptiveGradient(0.1),
        "LAMB": TrustRatio(1.0),
        "Clippy": Clippy(0.5, 1e-2),
    }
    result = {}
    for axis, rate in zip(axes, (0.09, 0.11, 0.2), strict=True):
        for name, clipping in treatments.items():
            losses = descend(rate, clipping)
            axis.semilogy(losses, label=name)
            result[f"{name}_at_{rate}"] = float(f"{losses[-1]:.3g}")
        axis.set(title=f"learning rate {rate} (2/20 = 0.1)", xlabel="step", ylim=(1e-8, 1e8))
    axes[0].set_ylabel("loss")
    axes[0].legend()
    picture.tight_layout()
    picture.savefig(RESULTS / "optimizers_quadratic.png", dpi=100)
    return result


def descend(rate, clipping, steps=100):
    w = keras.Variable([1.0, 1.0], name="w")
    curvature = tf.constant([20.0, 1.0])
    optimizer, losses = SGD(rate, clipping=clipping), []
    for _ in range(steps):
        losses.append(float(tf.reduce_sum(curvature * w.value**2) / 2))
        optimizer.apply([curvature * w.value], [w])
    return losses
