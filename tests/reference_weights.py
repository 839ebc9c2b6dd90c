"""Plain NumPy versions: initial kernels through layers, and weights whose size the loss does not see."""

import numpy as np


def mean_squares_through_layers(f, variance, depth):
    """Mean squares of the pre-activations of infinitely wide layers, whose kernels have the variance / fan_in.

    The first layer's are 1. Each is the variance times E f(z)^2, z normal with the mean square before.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(200)
    squares = [1.0]
    while len(squares) < depth:
        squares.append(variance * np.sum(weight * f(np.sqrt(squares[-1]) * z) ** 2) / np.sqrt(2 * np.pi))
    return np.array(squares)


def sphere_walk(rate, decay, momentum, steps, size, seed, start=3.0):
    """SGD with decoupled decay on weights whose loss sees their direction alone, with gradients of norm 1 / ||w||.

    Returns the angle of each step and ||w|| before it. The gradients are independent, in all directions across w.
    """
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=size), np.zeros(size)
    w *= start / np.linalg.norm(w)
    angles, sizes = np.zeros(steps), np.zeros(steps)
    for t in range(steps):
        g = rng.normal(size=size)
        g -= w * (g @ w) / (w @ w)
        g /= np.linalg.norm(g) * np.linalg.norm(w)
        v = momentum * v + g
        new = w - rate * v - rate * decay * w
        cosine = w @ new / np.linalg.norm(w) / np.linalg.norm(new)
        angles[t], sizes[t], w = np.arccos(cosine), np.linalg.norm(w), new
    return angles, sizes
