"""Embedding tables against NumPy, and that a step touches no more than its rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.layers import EmbeddingFeature, Embeddings

ROWS, DIM = {"user": 7, "tag": 5, "city": 3}, 4
FEATURES = {
    "user": EmbeddingFeature("user", ROWS["user"], DIM),
    "tags": EmbeddingFeature("tag", ROWS["tag"], DIM, "mean"),
    "tag": EmbeddingFeature("tag", ROWS["tag"], DIM),  # Shares the rows of `tags`.
    "more_tags": EmbeddingFeature("tag", ROWS["tag"], DIM, "sum"),
    "city": EmbeddingFeature("city", ROWS["city"], 2),
}
INPUTS = {
    "user": [0, 6, 6],
    "tags": [[1, 1, 3], [2, -1, -1], [-1, -1, -1]],
    "tag": [4, 1, 0],
    "more_tags": [[1, 2], [3, -1], [-1, -1]],
    "city": [2, 0, 1],
}


def tensors() -> dict[str, tf.Tensor]:
    return {name: tf.constant(value, tf.int32) for name, value in INPUTS.items()}


@pytest.fixture
def layer() -> Embeddings:
    layer = Embeddings(FEATURES, stddev=1.0)
    layer.build()
    return layer


def by_table(layer: Embeddings) -> dict[str, np.ndarray]:
    """The rows of each table: those of one width stand below each other, in the order of their first features."""
    wide, narrow = [variable.numpy() for variable in layer.trainable_variables]
    assert wide.shape == (ROWS["user"] + ROWS["tag"], DIM)
    return {"user": wide[: ROWS["user"]], "tag": wide[ROWS["user"] :], "city": narrow}


def reference(tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the layer computes, an example and a value at a time."""
    result = {}
    for name, feature in FEATURES.items():
        examples = []
        for rows in INPUTS[name]:
            rows = [row for row in np.atleast_1d(rows) if row >= 0]
            total = np.sum([tables[feature.table][row] for row in rows], axis=0) if rows else np.zeros(feature.dim)
            examples.append(total / len(rows) if rows and feature.pooling == "mean" else total)
        result[name] = np.array(examples)
    return result


def test_lookups_against_numpy(layer):
    outputs = layer(tensors())
    assert list(outputs) == list(FEATURES)
    for name, expected in reference(by_table(layer)).items():
        assert outputs[name].shape == (3, FEATURES[name].dim)
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-6, atol=1e-7, err_msg=name)
    assert not outputs["tags"][2].numpy().any()  # Nothing but padding.


def test_tables_of_their_own_hold_what_stacked_ones_hold(layer):
    own = Embeddings({name: feature._replace(stacked=False) for name, feature in FEATURES.items()})
    own.build()
    names = {variable.name for variable in own.variables}
    assert names == {f"tables_{DIM}__tag", f"tables_{DIM}__user", "tables_2__city"}
    own.assign_tables(layer.tables())
    for name, expected in layer(tensors()).items():
        np.testing.assert_array_equal(own(tensors())[name], expected)


def test_initial_rows_have_the_deviation_asked_for():
    features = {"x": EmbeddingFeature("x", 20_000, 8)}
    keras.utils.set_random_seed(0)
    for stddev in (0.01, 0.5, 0.0):
        layer = Embeddings(features, stddev=stddev)
        layer.build()
        values = layer.trainable_variables[0].numpy()
        assert abs(values.mean()) <= 0.02 * stddev
        assert values.std() == pytest.approx(stddev, rel=0.02)  # 160,000 values: within 0.2 % at one deviation.


def gradients(layer: Embeddings) -> list[tf.IndexedSlices]:
    with tf.GradientTape() as tape:
        outputs = layer(tensors())
        loss = tf.add_n([tf.reduce_sum(value * (i + 1)) for i, value in enumerate(outputs.values())])
    return tape.gradient(loss, [variable.value for variable in layer.trainable_variables])


def test_gradients_are_rows_of_the_batch_with_duplicates_to_be_summed(layer):
    wide, narrow = gradients(layer)
    assert isinstance(wide, tf.IndexedSlices)
    assert isinstance(narrow, tf.IndexedSlices)
    # Of the user table rows 0 and 6; of the tag table, 7 rows further down, 0 to 4, row 0 also in padding's stead.
    assert set(wide.indices.numpy()) <= {0, 6, *(7 + row for row in range(5))}
    summed = tf.math.unsorted_segment_sum(wide.values, wide.indices, 12).numpy()
    expected = np.zeros((12, DIM))
    expected[0] += 1  # user, loss factor 1
    expected[6] += 1 + 1  # twice in the batch
    expected[7 + 1] += 2 * (1 / 3 + 1 / 3)  # tags, factor 2, mean of three values of which two are row 1
    expected[7 + 3] += 2 * 1 / 3
    expected[7 + 2] += 2
    expected[[7 + 4, 7 + 1, 7 + 0]] += 3  # tag, factor 3
    expected[[7 + 1, 7 + 2, 7 + 3]] += 4  # more_tags, factor 4, sum
    np.testing.assert_allclose(summed, expected, rtol=1e-6)
    np.testing.assert_allclose(tf.convert_to_tensor(narrow), np.full((3, 2), 5))  # city, factor 5: every row once.


def test_padding_passes_no_gradient(layer):
    with tf.GradientTape() as tape:
        outputs = layer({**tensors(), "tags": tf.fill([3, 3], -1), "more_tags": tf.fill([3, 2], -1)})
        loss = tf.reduce_sum(outputs["tags"]) + tf.reduce_sum(outputs["more_tags"])
    (wide, _) = tape.gradient(loss, [variable.value for variable in layer.trainable_variables])
    assert not wide.values.numpy().any()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_no_operation_of_a_step_is_as_large_as_a_table(policy):
    height = 54_321
    layer = Embeddings({name: EmbeddingFeature("shared", height, 3) for name in "ab"}, dtype=policy)
    layer.build()

    @tf.function
    def step(rows):
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(tf.cast(v, tf.float32)) for v in layer({"a": rows, "b": rows}).values()])
        gradient = tape.gradient(loss, layer.trainable_variables[0].value)
        return gradient.values, gradient.indices

    graph = step.get_concrete_function(tf.TensorSpec([8], tf.int32)).graph
    shapes = [output.shape for op in graph.get_operations() for output in op.outputs]
    assert not [shape for shape in shapes if shape.rank and height in shape.as_list()]
    assert "ResourceGather" in {op.type for op in graph.get_operations()}
    assert "ReadVariableOp" not in {op.type for op in graph.get_operations()}


def test_bfloat16_outputs_come_from_float32_tables(layer):
    mixed = Embeddings(FEATURES, dtype="mixed_bfloat16")
    mixed.build()
    for theirs, ours in zip(mixed.variables, layer.variables, strict=True):
        assert theirs.dtype == "float32"
        theirs.assign(ours)
    for name, value in mixed(tensors()).items():
        assert value.dtype == tf.bfloat16
        # Eight bits of mantissa: rounding of each row and of each sum, 2^-8 of values around 1.
        np.testing.assert_allclose(tf.cast(value, tf.float32), layer(tensors())[name], atol=5e-2)


def test_tables_are_marked_for_the_optimizers(layer):
    assert [variable.is_embedding_table for variable in layer.trainable_variables] == [True, True]
    assert [variable.name for variable in layer.trainable_variables] == ["tables_4", "tables_2"]


def test_config_and_file_bring_the_layer_back(layer, tmp_path):
    again = Embeddings.from_config(layer.get_config())
    assert again.features == layer.features
    assert again.get_config() == layer.get_config()
    inputs = {name: keras.Input(value.shape[1:], dtype="int32", name=name) for name, value in tensors().items()}
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name, expected in model(tensors()).items():
        np.testing.assert_array_equal(loaded(tensors())[name], expected)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"feature b needs table t with 4 rows of 2, another feature with 3 of 2"):
        Embeddings({"a": EmbeddingFeature("t", 3, 2), "b": EmbeddingFeature("t", 4, 2)})
    for wrong in ((0, 2), (3, 0), (3, 2, "max")):
        with pytest.raises(ValueError, match="feature a must have at least 1 row and 1 dim, and pooling mean or sum"):
            Embeddings({"a": EmbeddingFeature("t", *wrong)})
    for stddev in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="stddev must be non-negative"):
            Embeddings(FEATURES, stddev=stddev)


@pytest.mark.parametrize("names", [("tag", "user"), ("more_tags", "tags"), ("city",), ("tag", "tags")])
def test_side_by_side_is_the_call_in_one_tensor(layer, names):
    expected = layer(tensors())
    got = layer.side_by_side(names, {name: tensors()[name] for name in names})
    np.testing.assert_array_equal(got, np.stack([expected[name] for name in names], axis=1))


@pytest.mark.parametrize(
    "names", [tuple(FEATURES), ("user", "tag", "city", "tags"), ("tags", "user"), ("user", "tag"), ("tags",)]
)
def test_joined_is_the_call_in_one_tensor_and_so_are_its_gradients(names):
    layer = Embeddings({name: FEATURES[name] for name in names})
    inputs = {name: tensors()[name] for name in names}
    upstream = tf.random.stateless_normal([3, sum(FEATURES[name].dim for name in names)], [1, 2])
    results = []
    for join in (lambda: tf.concat(list(layer(inputs).values()), axis=1), lambda: layer(inputs, joined=True)):
        with tf.GradientTape() as tape:
            joined = join()
        gradients = tape.gradient(joined, [v.value for v in layer.variables], output_gradients=upstream)
        results.append([joined, *(tf.convert_to_tensor(gradient) for gradient in gradients)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    symbolic = layer({name: keras.Input(value.shape[1:], dtype="int32") for name, value in inputs.items()}, joined=True)
    assert symbolic.shape == (None, upstream.shape[1])
