"""Moments in pieces against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from tfstable.inputs.moments import RESOLUTION, Moments


def moments(x, *cuts) -> Moments:
    found = Moments()
    for piece in np.split(np.asarray(x, float), cuts):
        found.add(piece)
    return found


@pytest.mark.parametrize("offset", [0, 1.6e12, 2.0**52, -1e15])
def test_what_varies_far_from_0_is_not_cancelled(offset):
    x = offset + np.random.default_rng(0).integers(0, 100, 1000)
    exact = [Fraction(int(v)) for v in x]
    mean = sum(exact) / 1000
    deviation = float(sum((v - mean) ** 2 for v in exact) / 1000) ** 0.5
    for cuts in ((), (1,), (300, 301, 999), range(1, 1000)):
        found = moments(x, *cuts)
        assert found.mean == pytest.approx(float(mean), rel=1e-15)
        assert found.deviation(RESOLUTION["int64"]) == pytest.approx(deviation, rel=2e-3)


@pytest.mark.parametrize("scale", [1e-30, 5e-7, 1.0, 1e30])
def test_scale_is_no_matter(scale):
    x = np.random.default_rng(0).random(1000)
    expected = scale * x.std()
    assert moments(scale * x, 400).deviation(RESOLUTION["float32"]) == pytest.approx(expected, rel=1e-12)


def test_rounding_is_no_variation():
    for value in (0.0, 0.1, -7.0, 1e9, 1e-30):
        assert moments([value] * 1000, 3, 500).deviation(RESOLUTION["float32"]) == 0
        near = np.nextafter(np.float32(value), np.float32(np.inf), dtype=np.float32)
        if value:
            assert moments([value, near] * 10).deviation(RESOLUTION["float32"]) == 0
    assert moments([10**12, 10**12 + 1]).deviation(RESOLUTION["int64"]) == 0.5
    assert Moments().deviation(RESOLUTION["float32"]) == 0
