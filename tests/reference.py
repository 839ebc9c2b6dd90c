"""Plain NumPy versions of the mathematics, written from the formulas and not from the code under test."""

import numpy as np

# --- Directions: (g, state, t) -> r. The state is a dict of arrays like g, changed in place. ---


def adagrad(g, state, t, initial=0.1, epsilon=0.0):
    state["G"] = state.get("G", np.full_like(g, initial)) + g**2
    return g / np.sqrt(state["G"] + epsilon)


def adam(g, state, t, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    state["m"] = beta_1 * state.get("m", np.zeros_like(g)) + (1 - beta_1) * g
    state["v"] = beta_2 * state.get("v", np.zeros_like(g)) + (1 - beta_2) * g**2
    return state["m"] / (1 - beta_1**t) / (np.sqrt(state["v"] / (1 - beta_2**t)) + epsilon)


def sgd(g, state, t, momentum=0.0, nesterov=False):
    state["v"] = momentum * state.get("v", np.zeros_like(g)) + g
    return g + momentum * state["v"] if nesterov else state["v"]


def adax(g, state, t, beta_1=0.9, beta_2=1e-4, epsilon=1e-12):
    """As published: v grows without bound, and is normalised when it is used."""
    state["m"] = beta_1 * state.get("m", np.zeros_like(g)) + (1 - beta_1) * g
    state["v"] = (1 + beta_2) * state.get("v", np.zeros_like(g)) + beta_2 * g**2
    return state["m"] / np.sqrt(state["v"] / ((1 + beta_2) ** t - 1) + epsilon)


# --- Clippings: (r, g, w, eta) -> factor of eq. (5). ---


def no_clipping(r, g, w, eta):
    return 1.0


def clippy(r, g, w, eta, relative=0.5, absolute=1e-2):
    ratios = [
        (relative * abs(w_i) + absolute) / (eta * abs(r_i))
        for w_i, r_i in zip(np.ravel(w), np.ravel(r), strict=True)
        if r_i != 0 and eta != 0
    ]
    return min([1.0, *ratios])


def gradient_norm(r, g, w, eta, threshold=0.1):
    length = np.sqrt((g**2).sum())
    return min(1.0, threshold / length) if length else 1.0


def adaptive_gradient(r, g, w, eta, threshold=1e-2, floor=1e-3):
    """Unit-wise: one factor for each index of the last axis; a vector or a scalar is one unit."""
    if w.ndim < 2:
        g_norm, w_norm = np.sqrt((g**2).sum()), np.sqrt((w**2).sum())
        return min(1.0, threshold * max(w_norm, floor) / g_norm) if g_norm else 1.0
    return np.array([adaptive_gradient(r[..., j].ravel(), g[..., j].ravel(), w[..., j].ravel(), eta, threshold, floor)
                     for j in range(w.shape[-1])])  # fmt: skip


def trust_ratio(r, g, w, eta, mu=1e-2):
    r_norm, w_norm = np.sqrt((r**2).sum()), np.sqrt((w**2).sum())
    return mu * (w_norm / r_norm if r_norm and w_norm else 1.0)


# --- Steps. ---


class Dense:
    """Eq. (5) for one tensor: w -= eta * decay * w + eta * factor * r."""

    def __init__(self, w, direction, clipping, decay=0.0):
        self.w, self.direction, self.clipping, self.decay = np.array(w), direction, clipping, decay
        self.state, self.t = {}, 0

    def step(self, g, eta):
        self.t += 1
        r = self.direction(g, self.state, self.t)
        factor = self.clipping(r, g, self.w, eta)
        self.w = self.w - eta * self.decay * self.w - eta * factor * r


class Table:
    """Eq. (5) for a table: every row is a `Dense` of its own, stepped when the batch touches it.

    With `by_row` each row has its own factor; else one factor is taken over the rows of the batch together.
    """

    def __init__(self, w, direction, clipping, by_row=False):
        self.w, self.direction, self.clipping, self.by_row = np.array(w), direction, clipping, by_row
        self.states, self.touches = [{} for _ in w], [0 for _ in w]

    def step(self, indices, values, eta):
        sums = {}
        for index, value in zip(indices, values, strict=True):
            sums[index] = sums.get(index, 0) + value
        if not sums:
            return
        rows = sorted(sums)
        for row in rows:
            self.touches[row] += 1
        r = np.stack([self.direction(sums[row], self.states[row], self.touches[row]) for row in rows])
        g, w = np.stack([sums[row] for row in rows]), self.w[rows]
        if self.by_row:
            factor = np.stack([np.broadcast_to(self.clipping(*a, eta), a[0].shape) for a in zip(r, g, w, strict=True)])
        else:
            factor = self.clipping(r, g, w, eta)
        self.w[rows] = w - eta * factor * r


# --- Numbers of a log: (rows,) float64 with NaN for a null, as the raw column holds them, -> model inputs. ---


def numeric(x, log1p=False, clip=None, missing=None, standardise=True):
    """A numeric feature, fitted on its own column."""

    def changed(x):
        x = np.sign(x) * np.log1p(np.abs(x)) if log1p else x
        return x if clip is None else np.minimum(np.maximum(x, clip[0]), clip[1])

    y = changed(np.asarray(x, np.float64))
    known = [v for v in y if np.isfinite(v)]
    if missing is not None:
        known += [changed(np.float64(missing))] * (len(y) - len(known))
    mean = np.mean(known) if known else 0.0
    stand_in = mean if missing is None else changed(np.float64(missing))
    y = np.where(np.isfinite(y), y, stand_in)
    if not standardise:
        return y
    return (y - mean) / np.std(known) if len(set(known)) > 1 else np.zeros(len(y))


def bucket(x, boundaries):
    """The row of a quantile feature, value by value."""
    return [0 if not np.isfinite(v) else 1 + sum(v >= limit for limit in boundaries) for v in x]
