"""Plain NumPy versions of rules whose state has other shapes than the weight: (g, state, t) -> r, as in `reference`."""

import numpy as np

from tests import reference


def muon(g, state, t, momentum=0.95, nesterov=True, beta_1=0.9, beta_2=0.95):
    """Keller Jordan's step on one matrix, scaled as by Liu et al.; Adam's on anything else."""
    if g.ndim < 2 or 1 in g.shape[-2:]:
        return reference.adam(g, state, t, beta_1, beta_2)
    if g.ndim > 2:
        states = state.setdefault("each", [{} for _ in g])
        return np.stack([muon(m, s, t, momentum, nesterov) for m, s in zip(g, states, strict=True)])
    state["v"] = momentum * state.get("v", np.zeros_like(g)) + g
    u = g + momentum * state["v"] if nesterov else state["v"]
    x = u / (np.linalg.norm(u) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return 0.2 * np.sqrt(max(g.shape)) * x


def adafactor(g, state, t, decay=0.8):
    """U of Algorithms 4 and 5 of Shazeer and Stern, with sums for R and C as they write them; threshold 1."""
    if g.ndim > 2:
        raise ValueError("the root mean square of a stack is over all of it")
    b = 1 - t**-decay
    squares = g**2 + 1e-30
    if g.ndim < 2:
        v = state["V"] = b * state.get("V", 0.0) + (1 - b) * squares
    else:
        r = state["R"] = b * state.get("R", 0.0) + (1 - b) * squares.sum(axis=1)
        c = state["C"] = b * state.get("C", 0.0) + (1 - b) * squares.sum(axis=0)
        v = np.outer(r, c) / r.sum()
    u = g / np.sqrt(v)
    return u / max(1, np.sqrt(np.mean(u**2)))


def adagrad_by_row(g, state, t, initial=0.1):
    """One number for each row of a table; g is one row."""
    state["G"] = state.get("G", initial) + np.mean(g**2)
    return g / np.sqrt(state["G"])


def adafactor_scale(w):
    return max(1e-3, np.sqrt(np.mean(w**2)))
