"""Plain NumPy versions of the mathematics, written from the formulas and not from the code under test."""

import copy

import numpy as np

# --- Directions: (g, state, t) -> r. The state is a dict of arrays like g, changed in place. ---


def adagrad(g, state, t, initial=0.1, epsilon=0.0):
    state["G"] = state.get("G", np.full_like(g, initial)) + g**2
    return g / np.sqrt(state["G"] + epsilon)


def forget(G, share, initial):
    """What Adagrad's sum of squares is after a window's end."""
    return np.maximum(share * G, initial)


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
    """Eq. (5) for one tensor: w -= eta * decay * w + eta * factor * r. The state gets g, or the clipped factor * g."""

    def __init__(self, w, direction, clipping, decay=0.0, accumulate="raw"):
        self.w, self.direction, self.clipping, self.decay = np.array(w), direction, clipping, decay
        self.accumulate, self.state, self.t = accumulate, {}, 0

    def step(self, g, eta):
        self.t += 1
        before = copy.deepcopy(self.state)
        r = self.direction(g, self.state, self.t)
        factor = self.clipping(r, g, self.w, eta)
        if self.accumulate == "clipped":
            self.state = before
            self.direction(factor * g, self.state, self.t)
        self.w = self.w - eta * self.decay * self.w - eta * factor * r


class Table:
    """Eq. (5) for a table: every row is a `Dense` of its own, stepped when the batch touches it.

    With `by_row` each row has its own factor; else one factor is taken over the rows of the batch together.
    """

    def __init__(self, w, direction, clipping, by_row=False, accumulate="raw"):
        self.w, self.direction, self.clipping, self.by_row = np.array(w), direction, clipping, by_row
        self.accumulate, self.states, self.touches = accumulate, [{} for _ in w], [0 for _ in w]

    def step(self, indices, values, eta):
        sums = {}
        for index, value in zip(indices, values, strict=True):
            sums[index] = sums.get(index, 0) + value
        if not sums:
            return
        rows = sorted(sums)
        before = copy.deepcopy(self.states)
        for row in rows:
            self.touches[row] += 1
        r = np.stack([self.direction(sums[row], self.states[row], self.touches[row]) for row in rows])
        g, w = np.stack([sums[row] for row in rows]), self.w[rows]
        if self.by_row:
            factor = np.stack([np.broadcast_to(self.clipping(*a, eta), a[0].shape) for a in zip(r, g, w, strict=True)])
        else:
            factor = np.broadcast_to(self.clipping(r, g, w, eta), g.shape)
        if self.accumulate == "clipped":
            self.states = before
            for place, row in enumerate(rows):
                self.direction(factor[place] * g[place], self.states[row], self.touches[row])
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


# --- Hashes of ids. ---

WORD = 2**64 - 1


def hashed_integer(x: int) -> int:
    """The finaliser of SplitMix64 in signed arithmetic: products wrap, shifts keep the sign, which is dropped last."""
    x = _signed(x * 0x9E3779B97F4A7C15)
    x = _signed((x ^ (x >> 32)) * 0xBF58476D1CE4E5B9)
    return (x ^ (x >> 29)) & (2**63 - 1)


def _signed(x: int) -> int:
    return (x & WORD) - (2**64 if x >> 63 & 1 else 0)


def farm_fingerprint(s: bytes) -> int:
    """Fingerprint64 of Pike's "FarmHash", 2014, which is fixed for all time, as its C++ says it for each length."""
    k0, k1, k2, n = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, len(s)
    mul = (k2 + 2 * n) & WORD

    def at(i, size=8):
        return int.from_bytes(s[i : i + size], "little")

    def turn(x, bits):
        x &= WORD
        return (x >> bits | x << (64 - bits)) & WORD

    def fold(x):
        x &= WORD
        return x ^ x >> 47

    def join(u, v, mul):
        a = fold(((u ^ v) & WORD) * mul)
        return fold((v ^ a) * mul) * mul & WORD

    if n == 0:
        return k2
    if n < 4:
        return fold((s[0] + (s[n // 2] << 8)) * k2 ^ (n + (s[-1] << 2)) * k0) * k2 & WORD
    if n < 8:
        return join(n + (at(0, 4) << 3), at(n - 4, 4), mul)
    if n <= 16:
        a, b = (at(0) + k2) & WORD, at(n - 8)
        return join(turn(b, 37) * mul + a, (turn(a, 25) + b) * mul, mul)
    if n <= 32:
        a, b, c, d = at(0) * k1, at(8), at(n - 8) * mul, at(n - 16) * k2
        return join(turn(a + b, 43) + turn(c, 30) + d, a + turn(b + k2, 18) + c, mul)
    if n <= 64:
        a, b, c, d = at(0) * k2, at(8), at(n - 8) * mul, at(n - 16) * k2
        y = turn(a + b, 43) + turn(c, 30) + d
        z = join(y, a + turn(b + k2, 18) + c, mul)
        e, f, g, h = at(16) * mul, at(24), (y + at(n - 32)) * mul, (z + at(n - 24)) * mul
        return join(turn(e + f, 43) + turn(g, 30) + h, e + turn(f + a, 18) + g, mul)

    def weak(i, a, b):
        a += at(i)
        b, c = turn(b + a + at(i + 24), 21), a
        a += at(i + 8) + at(i + 16)
        return (a + at(i + 24)) & WORD, (b + turn(a, 44) + c) & WORD

    x, y, v, w = 81, 81 * k1 + 113, (0, 0), (0, 0)
    z, x = fold(y * k2 + 113) * k2 & WORD, x * k2 + at(0)
    blocks = (n - 1) // 64

    def rounds(i, x, y, z, v, w, mul, nine):
        x = turn(x + y + v[0] + at(i + 8), 37) * mul & WORD
        y = turn(y + v[1] + at(i + 48), 42) * mul & WORD
        x, y = x ^ (w[1] * nine & WORD), (y + v[0] * nine + at(i + 40)) & WORD
        z = turn(z + w[0], 33) * mul & WORD
        v, w = weak(i, v[1] * mul, x + w[0]), weak(i + 32, z + w[1], y + at(i + 16))
        return z, y, x, v, w

    for block in range(blocks):
        x, y, z, v, w = rounds(64 * block, x, y, z, v, w, k1, 1)
    mul = k1 + ((z & 0xFF) << 1)
    w = (w[0] + (n - 1) % 64, w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = rounds(n - 64, x, y, z, v, w, mul, 9)
    return join(join(v[0], w[0], mul) + fold(y) * k0 + z, join(v[1], w[1], mul) + x, mul)


# --- Histories: q (batch, q), k (batch, length, k), m (batch, length) of 0 and 1; a position at a time. ---


def layer_norm(x, epsilon=1e-3):
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)


def target_attention(q, k, m, kernel, bias, score, score_bias, f, softmax=False):
    """DIN, with one hidden layer: the concatenation as published, then what a position has beside its counterpart."""
    y = np.zeros((len(q), k.shape[2]))
    for b in range(len(q)):
        seen = np.flatnonzero(m[b])
        s = []
        for i in seen:
            a, c = k[b, i, : q.shape[1]], k[b, i, q.shape[1] :]
            x = f(np.concatenate([q[b], a, c, q[b] - a, q[b] * a]) @ kernel + bias)
            s.append(float(x @ score[:, 0] + score_bias[0]))
        s = np.exp(s) / np.exp(s).sum() if softmax else np.array(s)
        y[b] = sum((s_i * k[b, i] for s_i, i in zip(s, seen, strict=True)), np.zeros(k.shape[2]))
    return y


def normalised_attention(x, c, m, w, heads):
    """Queries x (queries, width) and a context c (length, width) of one example; w: matrices by name."""
    width = x.shape[1] // heads
    y = np.zeros_like(x)
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        q = layer_norm(x @ w["query"][:, part]) * w["query_gamma"] + w["query_beta"]
        k = layer_norm(c @ w["key"][:, part]) * w["key_gamma"]
        for i in range(len(x)):
            seen = np.flatnonzero(m)
            a = np.exp(k[seen] @ q[i] / np.sqrt(width))
            y[i, part] = (a / a.sum()) @ (c[seen] @ w["value"][:, part]) if len(seen) else 0
    return y @ w["output"] + w["bias"]
