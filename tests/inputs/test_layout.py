import numpy as np
import tensorflow as tf

from tfstable.inputs.layout import AT_A_TIME, Layout

ROWS = AT_A_TIME + 7


def test_unpacking_gives_back_what_was_packed():
    rng = np.random.default_rng(0)
    features = {
        "user": rng.integers(100, size=ROWS).astype(np.int32),
        "age": rng.normal(size=ROWS).astype(np.float32),
        "tags": rng.integers(-1, 100, size=(ROWS, 3)).astype(np.int32),
        "hour": rng.integers(24, size=ROWS).astype(np.int32),
    }
    labels = {name: rng.normal(size=ROWS).astype(np.float32) for name in ("click", "like")}
    weight = rng.random(ROWS).astype(np.float32)
    specs = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in features.items()}
    layout = Layout(specs, list(labels))

    packed = layout.pack(features, labels, weight)
    assert {name: (array.shape, array.dtype.name) for name, array in packed.items()} == {
        "ids": ((ROWS, 5), "int32"),
        "numbers": ((ROWS, 3), "float32"),
        "weight": ((ROWS,), "float32"),
    }
    for form in (packed, {name: tf.constant(array) for name, array in packed.items()}):
        got_features, got_labels, got_weight = layout.unpack(form)
        assert list(got_features) == list(features)
        for name, values in (features | labels).items():
            np.testing.assert_array_equal((got_features | got_labels)[name], values, err_msg=name)
        np.testing.assert_array_equal(got_weight, weight)
