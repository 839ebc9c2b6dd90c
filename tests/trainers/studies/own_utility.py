"""A utility of one's own for `tfstable tune-score`."""

import numpy as np


def best_row(labels, predictions, weights, groups):
    """The mean gain of the row with the highest score of each list."""
    order = np.lexsort((predictions, groups))
    last = np.r_[groups[order][1:] != groups[order][:-1], True]
    return float(labels[order][last].mean())


def broken(labels, predictions, weights, groups):
    raise RuntimeError("no such thing")
