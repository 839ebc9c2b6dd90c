"""Spectra of tables against NumPy's singular value decomposition, and ranks of known tables."""

import numpy as np
import pytest

from tfstable.analysis import spectrum
from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values


@pytest.mark.parametrize("rows", [3, 8, 1000])
def test_the_gram_matrix_gives_the_singular_values(rows, monkeypatch):
    monkeypatch.setattr(spectrum, "ROWS", 300)  # Several pieces.
    table = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)
    exact = np.zeros(8)
    exact[: min(rows, 8)] = np.linalg.svd(table.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(singular_values(table), exact, rtol=1e-7, atol=1e-6)


def test_ranks_of_known_tables():
    equal, line, nothing = np.eye(6), np.outer(np.arange(1.0, 9.0), np.ones(6)), np.zeros((4, 6))
    for rank in (effective_rank, information_abundance):
        assert rank(singular_values(equal)) == pytest.approx(6)
        assert rank(singular_values(line)) == pytest.approx(1, abs=1e-5)
        assert np.isnan(rank(singular_values(nothing)))


def test_a_steep_spectrum_has_a_lower_rank_by_both():
    flat, steep = np.array([1.0, 0.9, 0.8, 0.7]), np.array([1.0, 0.3, 0.1, 0.03])
    assert effective_rank(flat) > effective_rank(steep) > 1
    assert information_abundance(steep) == pytest.approx(1.43)
