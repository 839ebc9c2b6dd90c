"""Boundaries of buckets: how full each comes out, on columns as logs have them."""

import numpy as np
import pytest

from tfstable.inputs import quantiles
from tfstable.inputs.quantiles import Sample, boundaries


def filled(x, buckets: int) -> list[int]:
    """How many values each bucket has."""
    x = np.asarray(x, float)
    inner = boundaries(x, buckets)
    assert inner == sorted(set(inner))
    assert len(inner) < buckets
    return np.bincount(np.searchsorted(inner, x, side="right"), minlength=len(inner) + 1).tolist()


def test_a_smooth_column_is_split_evenly():
    rng = np.random.default_rng(0)
    assert boundaries(rng.permutation(1000.0 * np.arange(100) / 1000), 4) == [24.5, 49.5, 74.5]
    for buckets in (2, 3, 7, 32):
        counts = filled(rng.lognormal(size=10_000), buckets)
        assert len(counts) == buckets
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("zeros", [0.5, 0.89, 0.94, 0.98, 0.999])
@pytest.mark.parametrize("sign", [1, -1])
def test_zeros_take_one_bucket_and_the_tail_has_the_others(zeros, sign):
    rng = np.random.default_rng(0)
    x = np.where(rng.random(100_000) < zeros, 0.0, sign * rng.lognormal(3, 2, 100_000))
    counts = filled(x, 32)
    assert len(counts) == 32
    of_zeros = counts.pop(0 if sign == 1 else -1)
    assert of_zeros == (x == 0).sum()
    assert max(counts) <= 1.1 * min(counts) + 2


def test_heavy_values_in_the_middle_have_buckets_of_their_own():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(0, 10, 1000), np.full(3000, 4.0), np.full(2000, 7.0), np.full(500, -1.0)])
    inner = boundaries(x, 10)
    counts = dict(zip(range(10), filled(x, 10), strict=True))
    assert len(inner) == 9
    for value, count in ((4.0, 3000), (7.0, 2000), (-1.0, 500)):
        assert counts[int(np.searchsorted(inner, value, side="right"))] == count
    assert sum(counts.values()) == 6500


def test_the_heaviest_come_first_where_buckets_are_few():
    # 15 heavy values with a light one between each two: 29 groups for 16 buckets.
    x = np.concatenate([np.repeat(np.arange(15.0), np.arange(15) + 50), np.arange(14) + 0.5])
    inner = boundaries(x, 16)
    assert len(inner) <= 15
    assert filled(x, 16)[-1] == 64  # 14.0, the heaviest.


def test_few_values_have_a_bucket_each():
    assert boundaries(np.repeat([3.0, 1.0, 2.0], [5, 1, 900]), 32) == [1.5, 2.5]
    assert boundaries(np.full(10, 5.0), 4) == []
    assert boundaries(np.empty(0), 4) == []


def test_random_columns_use_every_bucket_that_they_can():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.integers(1, 60)
        x = rng.choice(rng.normal(size=values), rng.integers(1, 500), p=rng.dirichlet(np.full(values, 0.3)))
        buckets = int(rng.integers(2, 40))
        counts = filled(x, buckets)
        assert len(counts) == min(buckets, len(np.unique(x)))
        assert min(counts) > 0


def test_neighbours_are_told_apart_at_every_scale():
    for scale in (1e-300, 1e-30, 1e-7, 1.0, 1e30, 1.6e12):
        low = np.float64(np.float32(scale))
        high = np.float64(np.nextafter(np.float32(scale), np.float32(np.inf)))
        (inner,) = boundaries(np.array([low, high]), 4)
        assert low < inner <= high
    (inner,) = boundaries(np.array([-3e38, 3e38]), 2)
    assert inner == 0
    (inner,) = boundaries(np.array([2.0**53, 2.0**53 + 2]), 2)
    assert inner == 2.0**53 + 1 or inner == 2.0**53 + 2


@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
def test_a_sample_is_the_same_however_the_column_is_cut(piece, monkeypatch):
    monkeypatch.setattr(quantiles, "SAMPLE", 64)
    x = np.arange(1000.0)

    def sampled(piece):
        sample = Sample()
        for begin in range(0, len(x), piece):
            sample.add(x[begin : begin + piece])
        assert (sample.count, len(sample.values)) == (1000, 64)
        return sorted(sample.values)

    assert sampled(piece) == sampled(333)


@pytest.mark.parametrize("period", [2, 5, 8, 1024])
def test_a_sample_has_nothing_to_do_with_the_order(period, monkeypatch):
    # Every k-th row of a log whose rows repeat with a period sees one phase alone.
    monkeypatch.setattr(quantiles, "SAMPLE", 4096)
    sample = Sample()
    for begin in range(0, 2**18, 2**14):
        sample.add(np.arange(begin, begin + 2**14) % period == 0)
    share, expected = sample.values.mean(), 1 / period
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 4096)
    ordered = Sample()
    ordered.add(np.arange(2**18) / 2**18)
    assert abs(ordered.values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 4096)
    assert len(set(np.floor(16 * ordered.values))) == 16
