import numpy as np
import pytest

from tfstable.layers import FeatureNormalization


def test_each_feature_is_divided_by_its_own_size():
    x = np.float32([[3, 4, 0, 0.5], [0, 0, -7, 1]])
    y = FeatureNormalization([2, 1, 1], floor=0.5)(x)
    size = np.sqrt([[(9 + 16) / 2 + 0.25, 0.25, 0.25 + 0.25], [0.25, 49 + 0.25, 1 + 0.25]])
    np.testing.assert_allclose(y, x / np.repeat(size, [2, 1, 1], axis=1), rtol=1e-6)


@pytest.mark.parametrize("arguments", [{"widths": []}, {"widths": [2, 0]}, {"widths": [2], "floor": 0.0}])
def test_domains(arguments):
    with pytest.raises(ValueError, match="widths must be at least 1 each and floor positive"):
        FeatureNormalization(**arguments)
