"""Plain NumPy versions of what the analysis computes, term by term."""

import numpy as np


def zero_order_gradient(metric, x, s, directions):
    total = np.zeros_like(x)
    for u in directions:
        total = total + (metric(x + s * u) - metric(x - s * u)) * u / (2 * s)
    return total / len(directions)


def policy_gradient(metric, x, s, directions):
    """(R - b) grad log N(w; x, s^2 I), with the mean of the other actions' rewards as baseline."""
    actions, total = [x + s * u for u in directions], np.zeros_like(x)
    for k, w in enumerate(actions):
        others = [metric(a) for j, a in enumerate(actions) if j != k]
        total = total + (metric(w) - np.mean(others)) * (w - x) / s**2
    return total / len(actions)


def integrated_gradients(gradient, x, start, points):
    """(x - x') times the mean gradient at the midpoints of `points` equal parts of the line from x' to x."""
    total = np.zeros_like(x)
    for m in range(points):
        total = total + gradient(start + (m + 0.5) / points * (x - start))
    return (x - start) * total / points
