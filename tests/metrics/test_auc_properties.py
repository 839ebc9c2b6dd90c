"""AUC and GAUC against every pair of rows, on any labels, ties, weights and groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfstable.metrics import auc, gauc

WEIGHTS = st.sampled_from([0.0, 1.0]) | st.floats(1e-3, 1e3)
SCORES = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(-1e6, 1e6)
ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, float("nan")]), SCORES, WEIGHTS, st.integers(0, 3)), min_size=1, max_size=25
)


def by_pairs(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> float:
    """The definition in O(n^2); NaN where a class weighs nothing."""
    positive, negative = labels == 1, labels == 0
    p, q = predictions[positive][:, None], predictions[negative][None, :]
    pairs = weights[positive][:, None] * weights[negative][None, :]
    return float((pairs * ((p > q) + (p == q) / 2)).sum() / pairs.sum()) if pairs.sum() else float("nan")


@given(ROWS)
def test_auc(rows):
    labels, predictions, weights, _ = map(np.array, zip(*rows, strict=True))
    expected = by_pairs(labels, predictions, weights)
    assert auc(labels, predictions, weights) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    ones = np.ones(len(rows))
    assert auc(labels, predictions) == pytest.approx(by_pairs(labels, predictions, ones), abs=1e-9, nan_ok=True)


@given(ROWS)
def test_gauc(rows):
    labels, predictions, weights, groups = map(np.array, zip(*rows, strict=True))
    of_groups, total = 0.0, 0.0
    for group in set(groups.tolist()):
        one = (groups == group) & ~np.isnan(labels)
        value = by_pairs(labels[one], predictions[one], weights[one])
        if not np.isnan(value):
            of_groups, total = of_groups + value * weights[one].sum(), total + weights[one].sum()
    expected = of_groups / total if total else float("nan")
    assert gauc(labels, predictions, groups, weights) == pytest.approx(expected, abs=1e-9, nan_ok=True)
