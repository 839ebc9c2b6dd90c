"""Any features, labels and rows come out of the wide arrays as they went in."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfstable.inputs import layout as layouts
from tfstable.inputs.layout import Layout

NUMBERS = arrays.from_dtype(np.dtype(np.float32), allow_nan=True, allow_infinity=True, allow_subnormal=True)
IDS = st.integers(-(2**31), 2**31 - 1)


@st.composite
def examples(draw) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    rows = draw(st.integers(0, 12))

    def column(dtype: str, width: int | None) -> np.ndarray:
        shape = (rows,) if width is None else (rows, width)
        return draw(arrays.arrays(dtype, shape, elements=IDS if dtype == "int32" else NUMBERS))

    kinds = st.sampled_from([("int32", None), ("int32", 1), ("int32", 3), ("float32", None), ("float32", 3)])
    features = {f"x{i}": column(*kind) for i, kind in enumerate(draw(st.lists(kinds, max_size=5)))}
    labels = {f"y{i}": column("float32", None) for i in range(draw(st.integers(1, 3)))}
    return features, labels, column("float32", None)


@settings(max_examples=60)
@given(examples(), st.integers(1, 5))
def test_unpacking_gives_back_what_was_packed(drawn, at_a_time):
    features, labels, weight = drawn
    specs = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in features.items()}
    layout = Layout(specs, list(labels))
    before, layouts.AT_A_TIME = layouts.AT_A_TIME, at_a_time
    try:
        packed = layout.pack(features, labels, weight)
    finally:
        layouts.AT_A_TIME = before
    assert {name: (spec.shape, spec.dtype.as_numpy_dtype) for name, spec in layout.spec(len(weight)).items()} == {
        name: (array.shape, array.dtype) for name, array in packed.items()
    }
    for form in (packed, {name: tf.constant(array) for name, array in packed.items()}):
        got_features, got_labels, got_weight = layout.unpack(form)
        assert list(got_features) == list(features)
        assert list(got_labels) == list(labels)
        for name, values in (features | labels | {"weight": weight}).items():
            got = (got_features | got_labels | {"weight": got_weight})[name]
            assert np.asarray(got).tobytes() == values.tobytes(), name  # NaN with its bits.
