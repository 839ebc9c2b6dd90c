"""Boundaries of buckets for any column, and however it is cut into pieces."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfstable.inputs import quantiles
from tfstable.inputs.quantiles import Sample, boundaries

FINITE = st.floats(allow_nan=False, allow_infinity=False)
FEW = st.integers(-3, 3).map(float)
COLUMNS = arrays.arrays(np.float64, st.integers(0, 60), elements=FINITE | FEW)


def sampled(column: np.ndarray, cuts: list[int], size: int) -> Sample:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "SAMPLE", size)
        sample = Sample()
        for piece in np.split(column, sorted(cuts)):
            sample.add(piece)
    return sample


@given(COLUMNS, st.lists(st.integers(0, 60), max_size=6), st.integers(1, 70), st.integers(2, 9))
def test_boundaries_do_not_depend_on_how_a_column_is_cut(column, cuts, size, buckets):
    whole, pieces = sampled(column, [], size), sampled(column, cuts, size)
    assert len(whole.values) == min(size, len(column))
    assert whole.count == pieces.count == len(column)
    assert sorted(whole.values) == sorted(pieces.values)
    assert boundaries(whole.values, buckets) == boundaries(pieces.values, buckets)


@given(COLUMNS, st.integers(2, 9))
def test_buckets_are_as_many_as_there_may_be_and_none_is_empty(column, buckets):
    inner = boundaries(column, buckets)
    assert all(low < high for low, high in pairwise(inner))
    counts = np.bincount(np.searchsorted(inner, column, side="right"), minlength=len(inner) + 1)
    assert len(counts) == min(buckets, len(np.unique(column))) or not len(column)
    assert counts.all() or not len(column)


@given(st.sampled_from(["sorted", "periodic", "shuffled"]), st.integers(2_500, 20_000), st.integers(1, 500))
def test_ranks_in_a_sample_are_near_those_in_the_column(order, rows, period):
    x = np.arange(rows, dtype=np.float64)
    if order == "periodic":
        x = (x % period) * rows + x  # All different, and a saw tooth.
    elif order == "shuffled":
        np.random.default_rng(period).shuffle(x)
    sample = np.sort(sampled(x, [], 2000).values)
    ranks = np.searchsorted(np.sort(x), sample, side="right") / rows
    error = np.abs(ranks - np.arange(1, 2001) / 2000).max()
    # Dvoretzky, Kiefer, Wolfowitz: P(error > e) <= 2 exp(-2 n e^2), here one in a billion.
    assert error <= math.sqrt(math.log(2e9) / (2 * 2000)) + 1 / 2000
