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
