"""Plain NumPy versions of the clippings that remember norms, one number at a time, as their authors' code has them."""

import numpy as np


class AdaGC:
    def __init__(self, tensors, relative=1.05, absolute=1.0, beta=0.98, warmup=100):
        self.relative, self.absolute, self.beta, self.warmup = relative, absolute, beta, warmup
        self.gamma, self.t = [None] * tensors, [0] * tensors

    def factors(self, norms):
        """h of each tensor; all of them are of one kind, dense or tables."""
        whole, result = np.sqrt(sum(n**2 for n in norms)), []
        for i, n in enumerate(norms):
            if n == 0:
                result.append(1.0)
                continue
            if self.t[i] < self.warmup:
                h = min(1.0, self.absolute / whole)
                self.gamma[i] = h * n if self.gamma[i] is None else min(self.gamma[i], h * n)
            else:
                h = min(1.0, self.relative * self.gamma[i] / n)
                self.gamma[i] = self.beta * self.gamma[i] + (1 - self.beta) * h * n
            self.t[i] += 1
            result.append(h)
        return result


class ZClip:
    def __init__(self, tensors, threshold=2.5, alpha=0.97, warmup=25):
        self.threshold, self.alpha, self.warmup = threshold, alpha, warmup
        self.first, self.mean = [], None

    def factors(self, norms):
        n = np.sqrt(sum(x**2 for x in norms))
        if self.mean is None:
            self.first.append(n)
            if len(self.first) == self.warmup:
                self.mean, self.var = np.mean(self.first), np.var(self.first)
            return [1.0] * len(norms)
        z = (n - self.mean) / (np.sqrt(self.var) + 1e-6)
        clipped = n if z <= self.threshold else self.mean + self.threshold * np.sqrt(self.var) / (z / self.threshold)
        self.mean = self.alpha * self.mean + (1 - self.alpha) * clipped
        self.var = self.alpha * self.var + (1 - self.alpha) * (clipped - self.mean) ** 2
        return [clipped / n] * len(norms)


class AdaGN:
    def __init__(self, tensors, gamma_1=0.7, gamma_2=0.9):
        self.gamma_1, self.gamma_2 = gamma_1, gamma_2
        self.m, self.v, self.t = [0.0] * tensors, [0.0] * tensors, 0

    def factors(self, norms):
        self.t += 1
        result = []
        for i, n in enumerate(norms):
            self.m[i] = self.gamma_1 * self.m[i] + (1 - self.gamma_1) * n
            self.v[i] = self.gamma_2 * self.v[i] + (1 - self.gamma_2) * n**2
            m, v = self.m[i] / (1 - self.gamma_1**self.t), self.v[i] / (1 - self.gamma_2**self.t)
            result.append(m / (np.sqrt(v) + 1e-8) / n if n else 1.0)
        return result
