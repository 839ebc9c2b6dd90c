"""Figures over seeds, with 95% intervals, for benchmarks."""

import numpy as np
from scipy import stats


def mean_with_interval(values):
    """The mean and its 95% interval by Student's t; no interval for fewer than two finite values."""
    values = np.asarray(values, float)
    if not np.isfinite(values).all() or len(values) < 2:
        return {"mean": float(values.mean()), "low": None, "high": None}
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": float(values.mean()), "low": float(values.mean() - half), "high": float(values.mean() + half)}


def ratio_with_interval(values, others):
    """The geometric mean of the ratios by seed, with a 95% interval; None where a run has no value."""
    if any(v is None for v in (*values, *others)) or len(values) != len(others):
        return None
    return {
        name: None if x is None else float(np.exp(x))
        for name, x in mean_with_interval(np.log(np.asarray(values, float) / np.asarray(others, float))).items()
    }
