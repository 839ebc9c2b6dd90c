"""Fits a calibration map to a histogram of logits and labels. NumPy only."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfstable.calibration.histogram import Histogram
from tfstable.calibration.knots import Knots
from tfstable.specs import BinaryTask, TaskSpec

# Prior deviations, in units of the logit: of the shift of all, and of its change over a distance of 1. A deviation d
# counts like 1 / d^2 positives.
SHIFT, CHANGE = 0.7, 0.1
OF_A_KNOT = 10.0  # Positives, or as much information, that a knot needs.
LEAST_SLOPE = 0.05  # Of the map between two knots: it keeps the order of any two logits.
STEPS, SMALL = 100, 1e-10  # Of Newton's method: the most, and the last.


class _Family(NamedTuple):
    """An exponential family: the mean of y + offset is A'(g), its variance in proportion to A''(g)."""

    A: Callable[[np.ndarray], np.ndarray]
    mean: Callable[[np.ndarray], np.ndarray]
    variance: Callable[[np.ndarray], np.ndarray]
    offset: float


class _Data(NamedTuple):
    """Bins that are not empty: weights over phi, mean logits and mean statistics, each `(bins,)`."""

    W: np.ndarray
    x: np.ndarray
    T: np.ndarray


def fit(task: TaskSpec, histogram: Histogram, knots: int) -> Knots:
    """Returns the map g from logits to calibrated logits that the rows of a histogram suggest.

    g is linear between its knots and has the slope 1 beyond them. With the shifts d_k = g(x_k) - x_k at the knots x_k
    it minimises

        1/phi sum_b W_b (A(g(x_b)) - T_b g(x_b))
            + (mean of d)^2 / (2 SHIFT^2) + sum_k (d_{k+1} - d_k)^2 / (2 CHANGE^2 (x_{k+1} - x_k))

    over bins b with weight W_b, mean logit x_b and mean label T_b. The first part is the negative log-likelihood of an
    exponential family in its natural parameter, so predictions sum to the labels, in all and around each knot. For
    binary labels it is Bernoulli's; for a regression the normal one; with log1p Poisson's, of 1 + y with the mean
    exp(g). It does not say how large the noise is: that, phi, is measured (quasi-likelihood). The second part is a
    prior for maps near the identity whose shift is a random walk. So without data g is the identity, few data shift all
    logits alike, and many bend g. Of a regression with log1p the shift of all is the logarithm of Duan's smearing
    factor: the prediction becomes the mean of the labels, where it was the exponential of a mean.

    Knots hold equal information, W p (1 - p) of a binary label; where data are few, there are fewer. Adjacent knots
    that would turn the order of logits round are pooled, with the slope `LEAST_SLOPE` between them.

    Args:
        task: The task.
        histogram: Its histogram.
        knots: The most knots, 1 to `MOST`.

    Reference:
        Zadrozny, Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", 2002 (monotone
        maps by pooling adjacent violators); Duan, "Smearing Estimate: A Nonparametric Retransformation Method", 1983;
        Wedderburn, "Quasi-Likelihood Functions, Generalized Linear Models, and the Gauss-Newton Method", 1974.

    Examples:
        >>> import numpy as np
        >>> from tfstable.specs import BinaryTask
        >>> fit(BinaryTask(kind="binary"), Histogram.empty(), knots=16)(np.array([-1.0, 2.0])).tolist()
        [-1.0, 2.0]
    """
    sums = histogram.sums[histogram.sums[:, 0] > 0]
    if not len(sums):
        return Knots.identity()
    family, unit = _family(task), 1.0
    W, x, T = sums[:, 0], sums[:, 1] / sums[:, 0], sums[:, 2] / sums[:, 0] + family.offset
    noise, expected = _noise(family, sums)
    phi = sums[:, 3].sum() / W.sum()  # Of equal weights: the weight of one row.
    if family is _NORMAL:  # A prior in units of the logit fits any label once its noise is 1.
        unit = float(np.sqrt(noise / sums[:, 3].sum())) or 1.0
    elif noise > 0:  # Else no label differs from another one, which says nothing of the noise.
        phi = noise / expected
    data = _Data(W / phi, x / unit, T / unit)
    shift = _shifts(family, data, np.zeros(1))  # Of all logits.
    places = _places(data, data.W * family.variance(data.x + shift), knots)
    return Knots(places * unit, (places + _shifts(family, data, places)) * unit)


def _noise(family: _Family, sums: np.ndarray) -> tuple[float, float]:
    """The sum of w^2 (y - mean of y)^2 over groups of rows with close logits, and that of w A''."""
    group = np.minimum(np.cumsum(sums[:, 0]) / sums[:, 0].sum() * 16, 15.0).astype(int)
    w, _, wy, ww, wwy, wwyy = (np.bincount(group, column) for column in sums.T)
    w, wy, ww, wwy, wwyy = (column[w > 0] for column in (w, wy, ww, wwy, wwyy))
    m = wy / w
    spread = float(np.maximum(wwyy - 2 * m * wwy + m**2 * ww, 0).sum())
    A2 = m * (1 - m) if family is _BERNOULLI else m + 1 if family is _POISSON else np.ones_like(m)
    return spread, float((w * A2).sum())


def _places(data: _Data, information: np.ndarray, most: int) -> np.ndarray:
    """Where the knots are, `(knots,)`: the means of groups of bins with equal information."""
    total = information.sum()
    count = int(np.clip(total / OF_A_KNOT, 1, most))
    middle = np.cumsum(information) - information / 2
    group = np.minimum(middle / total * count, count - 1).astype(int)
    weight = np.bincount(group, information)
    return (np.bincount(group, information * data.x)[weight > 0]) / weight[weight > 0]


def _shifts(family: _Family, data: _Data, places: np.ndarray) -> np.ndarray:
    """The shifts at the knots, `(knots,)`."""
    count, steps = len(places), np.diff(places)
    H = np.stack([np.interp(data.x, places, row) for row in np.eye(count)], axis=1)  # (bins, knots)
    D = np.diff(np.eye(count), axis=0)
    P = np.full((count, count), (count * SHIFT) ** -2) + D.T @ (D / (CHANGE**2 * steps[:, None]))
    tied = np.zeros(count - 1, bool)
    while True:
        d = _minimum(family, data, H, P, tied, steps)
        turned = ~tied & (np.diff(d) < -(1 - LEAST_SLOPE) * steps)
        if not turned.any():
            return d
        tied |= turned


def _minimum(
    family: _Family, data: _Data, H: np.ndarray, P: np.ndarray, tied: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """The minimum by Newton's method, where tied neighbours move together."""
    block = np.concatenate([[0], np.cumsum(~tied)])
    B = np.eye(block[-1] + 1)[block]  # (knots, blocks)
    fall = np.concatenate([[0.0], np.cumsum(np.where(tied, -(1 - LEAST_SLOPE) * steps, 0.0))])
    start = fall[np.searchsorted(block, np.arange(block[-1] + 1))]
    fixed = fall - start[block]  # Within a block.

    def objective(d: np.ndarray) -> float:
        g = data.x + H @ d
        with np.errstate(over="ignore"):
            return float((data.W * (family.A(g) - data.T * g)).sum() + d @ P @ d / 2)

    d = fixed - fixed.mean()
    now = objective(d)
    for _ in range(STEPS):
        g = data.x + H @ d
        gradient = B.T @ (H.T @ (data.W * (family.mean(g) - data.T)) + P @ d)
        hessian = B.T @ ((H * (data.W * family.variance(g))[:, None]).T @ H + P) @ B
        step = B @ np.linalg.solve(hessian, -gradient)
        while not (then := objective(d + step)) <= now and np.abs(step).max() > SMALL:
            step = step / 2
        d, now = d + step, then
        if np.abs(step).max() <= SMALL:
            break
    return d


def _family(task: TaskSpec) -> _Family:
    if isinstance(task, BinaryTask):
        return _BERNOULLI
    return _POISSON if task.transform == "log1p" else _NORMAL


def _sigmoid(g: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -g))


_BERNOULLI = _Family(lambda g: np.logaddexp(0.0, g), _sigmoid, lambda g: _sigmoid(g) * _sigmoid(-g), 0.0)
_POISSON = _Family(np.exp, np.exp, np.exp, 1.0)
_NORMAL = _Family(lambda g: g**2 / 2, lambda g: g, np.ones_like, 0.0)
