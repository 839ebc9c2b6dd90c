"""A small network with its derivatives, and the penalties, in plain NumPy; written from the formulas."""

import numpy as np


class Network:
    """f(x) = tanh(x W + b) V + c, `(rows, inputs)` to `(rows, outputs)`."""

    def __init__(self, inputs=3, hidden=5, outputs=2, seed=0):
        rng = np.random.default_rng(seed)
        self.W, self.b = rng.normal(size=(inputs, hidden)), rng.normal(size=hidden)
        self.V, self.c = rng.normal(size=(hidden, outputs)), rng.normal(size=outputs)

    def __call__(self, x):
        return np.tanh(x @ self.W + self.b) @ self.V + self.c

    def jacobian(self, x):
        """(rows, outputs, inputs)."""
        slope = 1 - np.tanh(x @ self.W + self.b) ** 2  # (rows, hidden)
        return np.einsum("ih,rh,ho->roi", self.W, slope, self.V)

    def laplacian(self, x):
        """(rows, outputs): the sum of the second derivatives by each input."""
        h = np.tanh(x @ self.W + self.b)
        return (-2 * h * (1 - h**2) * (self.W**2).sum(axis=0)) @ self.V


def sigmoid(f):
    return 1 / (1 + np.exp(-f))


def unit(x):
    return np.array([row / np.sqrt((row**2).sum()) if row.any() else row for row in x])


def half_mean_square(g, w=None):
    squares = [(row**2).sum() / (1 if w is None else w[i]) for i, row in enumerate(g) if w is None or w[i]]
    return sum(squares) / len(g) / 2


def virtual(jacobian, curvature, d, epsilon):
    """One power iteration of F = J^T diag(curvature) J from d, row by row."""
    return epsilon * unit(
        np.array([j.T @ np.diag(c) @ j @ each for j, c, each in zip(jacobian, curvature, d, strict=True)])
    )


def kl(p, q):
    """Of two Bernoulli distributions."""
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def second_order_of_noise(f, l1, l2, jacobian, laplacian, stddev):
    """What noise adds to a loss l(f), to second order: l1 and l2 are its derivatives by f."""
    return stddev**2 / 2 * (l2 * (jacobian**2).sum(axis=-1) + l1 * laplacian)
