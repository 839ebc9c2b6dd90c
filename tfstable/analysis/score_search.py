"""Ascent on a metric that has no gradient, over a few parameters: zero-order steps and the policy gradient.

Both climb the metric smoothed by Gaussian perturbations, J(x) = E[M(x + s u)], u ~ N(0, I), whose gradient is

    grad J(x) = E[(M(x + s u) - b) u] / s        for any b that does not depend on u

The policy gradient estimates it as it stands: x + s u is an action of the policy N(x, s^2 I), and u / s the gradient of
its log-probability. The zero-order estimate takes u and -u in pairs. In expectation they are one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: A metric of a ranking: takes parameters, `(n,)`, and returns a number, the higher the better.
Metric = Callable[[np.ndarray], float]
METHODS = ("zero-order", "policy-gradient")


def zero_order_gradient(metric: Metric, at: np.ndarray, scale: float, directions: np.ndarray) -> np.ndarray:
    """Estimates the gradient of the smoothed metric by antithetic pairs, in 2 K evaluations.

        g = 1 / (2 s K) sum_k (M(x + s u_k) - M(x - s u_k)) u_k

    Args:
        metric: M.
        at: x, `(n,)`.
        scale: s, positive.
        directions: The u_k, `(K, n)` standard normal.

    Returns:
        g, `(n,)` float64.

    Reference:
        Nesterov, Spokoiny, "Random Gradient-Free Minimization of Convex Functions", 2017; pairs: Salimans et al.,
        "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017.
    """
    differences = np.array([metric(at + scale * u) - metric(at - scale * u) for u in directions])
    return differences @ directions / (2 * scale * len(directions))


def policy_gradient(metric: Metric, at: np.ndarray, scale: float, directions: np.ndarray) -> np.ndarray:
    """Estimates the gradient of the smoothed metric as that of a Gaussian policy's expected reward, in K evaluations.

        g = 1 / (s K) sum_k (M(x + s u_k) - b_k) u_k,   b_k = mean of M(x + s u_j) over j != k

    The baseline b_k is independent of u_k: it takes noise away and adds no bias.

    Args:
        metric, at, scale, directions: As in `zero_order_gradient`; K is at least 2.

    Returns:
        g, `(n,)` float64.

    Raises:
        ValueError: If there are fewer than 2 directions.

    Reference:
        Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992.
    """
    K = len(directions)
    if K < 2:
        raise ValueError(f"directions must be at least 2 for a baseline, got {K}")
    rewards = np.array([metric(at + scale * u) for u in directions])
    advantages = (rewards - rewards.mean()) * K / (K - 1)
    return advantages @ directions / (scale * K)


class Ascent(NamedTuple):
    """What an ascent found.

    Attributes:
        parameters: `(n,)` of norm 1, the best of all that were visited.
        value: Their metric.
        start: Where it began: the best of the starts, of norm 1.
        path: The metric after each step, `(steps + 1,)`; the first is that of the start.
    """

    parameters: np.ndarray
    value: float
    start: np.ndarray
    path: list[float]


def ascend(
    metric: Metric,
    starts: Sequence[np.ndarray],
    *,
    method: str = "zero-order",
    steps: int = 25,
    pairs: int = 6,
    scale: float = 0.2,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Ascent:
    """Climbs a metric that a common factor of the parameters does not change, on the unit sphere.

    It begins at the best of the starts. Step t goes s_t = scale x (1 - t / steps) along the unit tangent of the
    estimated gradient; perturbations shrink with it. A step costs 2 x `pairs` + 1 evaluations under either method.

    Args:
        metric: The metric.
        starts: Parameters to begin with, `(n,)` each, not all 0; n is at least 2.
        method: One of `METHODS`.
        steps: Number of steps, at least 0.
        pairs: Pairs of perturbations per step; the policy gradient draws twice as many, without pairs. At least 1.
        scale: Size of the first step and of its perturbations, in radians.
        seed: Seed of the perturbations.
        progress: Called with the steps done and all steps.

    Raises:
        ValueError: If an argument is outside its domain, or the metric is NaN at every start.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if steps < 0 or pairs < 1 or not scale > 0:
        raise ValueError(f"steps must be at least 0, pairs at least 1, scale positive; got {steps}, {pairs}, {scale}")
    begun = [(metric(x), x) for x in map(_unit, starts)]
    begun = [(value, x) for value, x in begun if np.isfinite(value)]
    if not begun:
        raise ValueError("the metric must be a number at one of the starts at least, got NaN")
    best_value, start = max(begun, key=lambda each: each[0])
    best = x = start
    path, generator = [best_value], np.random.default_rng(seed)
    for step in range(steps):
        s = scale * (1 - step / steps)
        if method == "zero-order":
            g = zero_order_gradient(metric, x, s, generator.standard_normal((pairs, len(x))))
        else:
            g = policy_gradient(metric, x, s, generator.standard_normal((2 * pairs, len(x))))
        g = g - (g @ x) * x  # What changes only the norm of x changes no ranking.
        if (size := np.linalg.norm(g)) > 0:
            x = _unit(x + s * g / size)
        path.append(metric(x))
        if path[-1] > best_value:
            best_value, best = path[-1], x
        progress(step + 1, steps)
    return Ascent(best, best_value, start, path)


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x)
    if len(x) < 2 or not norm > 0:
        raise ValueError(f"starts must have at least 2 parameters, not all 0, got {x}")
    return np.asarray(x, np.float64) / norm
