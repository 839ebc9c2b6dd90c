"""What every layer promises: its config, dtype policies, reloading, the same numbers under XLA."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable import layers

X = (5, 8)  # (batch, width)
SEQUENCE = (5, 4, 8)  # (batch, length, width)
PAIR = (X, X)
HISTORY = ((5, 6), SEQUENCE)  # (batch, query), (batch, length, width)


def _dtype(kwargs):
    return kwargs.get("dtype")


# Name: (layer, the shapes of its inputs). Every exported class is here, with no argument at its default.
CASES = {
    "ClipActivation": (lambda **k: layers.ClipActivation(0.5, **k), (X,)),
    "SmeLU": (lambda **k: layers.SmeLU(0.3, **k), (X,)),
    "GeneralisedSmeLU": (lambda **k: layers.GeneralisedSmeLU(0.3, 0.7, 0.1, 1.2, -0.2, **k), (X,)),
    "ReZero": (lambda **k: layers.ReZero(keras.layers.Dense(8, layers.SmeLU(0.5), dtype=_dtype(k)), **k), (X,)),
    "ReZero of a stack": (
        lambda **k: layers.ReZero(keras.Sequential([keras.layers.Dense(n, dtype=_dtype(k)) for n in (6, 8)]), **k),
        (X,),
    ),
    "ReZero of a cross": (lambda **k: layers.ReZero(layers.CrossTower(1, 2, dtype=_dtype(k)), **k), (X,)),
    "ReZero of attention": (
        lambda **k: layers.ReZero(keras.layers.MultiHeadAttention(2, 4, dtype=_dtype(k)), **k),
        (SEQUENCE,),
    ),
    "ReZeroStack": (lambda **k: layers.ReZeroStack(23, layers.SmeLU(0.5), **k), (X,)),
    "ReZeroStack of one block": (lambda **k: layers.ReZeroStack(10, "tanh", **k), (X,)),
    "ReZeroStack below a block": (lambda **k: layers.ReZeroStack(3, layers.smelu, **k), (X,)),
    "ReZeroDecoder": (lambda **k: layers.ReZeroDecoder(2, 12, "gelu", 0.1, **k), (SEQUENCE, (5, 3, 8))),
    "ReZeroEncoder": (lambda **k: layers.ReZeroEncoder(2, 12, "gelu", 0.1, **k), (SEQUENCE,)),
    "ReZeroEncoder of normalised queries": (
        lambda **k: layers.ReZeroEncoder(2, 12, "gelu", 0.1, query_key_norm=True, **k),
        (SEQUENCE,),
    ),
    "NormalisedAttention": (lambda **k: layers.NormalisedAttention(2, 0.1, **k), (SEQUENCE, (5, 3, 8))),
    "TargetAttention": (lambda **k: layers.TargetAttention([7, 5], "tanh", True, **k), HISTORY),
    "TargetAttention without softmax": (lambda **k: layers.TargetAttention([7], layers.smelu, False, **k), HISTORY),
    "MaskedMean": (lambda **k: layers.MaskedMean(**k), (SEQUENCE,)),
    "HistoryEncoder": (lambda **k: layers.HistoryEncoder(2, 7, 9, "tanh", 0.1, **k), HISTORY),
    "HistoryDecoder": (lambda **k: layers.HistoryDecoder(2, 4, 9, "tanh", 0.1, **k), HISTORY),
    "FeatureNormalization": (lambda **k: layers.FeatureNormalization([3, 1, 2, 2], 0.3, **k), (X,)),
    "VectorInput": (lambda **k: layers.VectorInput(3, "layer", 1e-4, **k), (X,)),
    "VectorInput of length one": (lambda **k: layers.VectorInput(None, "l2", 1e-3, **k), (X,)),
    "CrossTower": (lambda **k: layers.CrossTower(2, **k), (X,)),
    "CrossTower of low rank": (lambda **k: layers.CrossTower(2, 3, **k), (X,)),
    "CrossTower of experts": (lambda **k: layers.CrossTower(2, 3, 4, **k), (X,)),
    "CrossMixture": (lambda **k: layers.CrossMixture(4, 3, **k), PAIR),
}
all_layers = pytest.mark.parametrize("case", CASES)


def _built(case, **kwargs):
    make, shapes = CASES[case]
    rng = np.random.default_rng(0)
    layer = make(**kwargs)
    inputs = [keras.Input(shape[1:], dtype=layer.compute_dtype) for shape in shapes]
    model = keras.Model(inputs, layer(*inputs))
    for weight in model.weights:  # Gates and biases too, so that no part of a layer is hidden by a zero.
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    return model, layer, [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]


def test_every_exported_layer_has_a_case():
    exported = {n for n in layers.__all__ if inspect.isclass(v := getattr(layers, n)) and issubclass(v, keras.Layer)}
    assert exported - {"Embeddings"} == {case.split()[0] for case in CASES}  # Embeddings take rows, not floats.


@all_layers
def test_the_config_holds_every_argument_and_makes_an_equal_layer(case):
    layer = CASES[case][0](name="mine", dtype="mixed_bfloat16")
    config = layer.get_config()
    assert set(inspect.signature(type(layer)).parameters) - {"kwargs"} <= set(config)
    again = type(layer).from_config(config)
    assert again.get_config() == config
    assert (again.name, again.dtype_policy) == ("mine", layer.dtype_policy)
    assert type(layer).from_config(config).get_config() == config  # from_config did not eat the config


@all_layers
def test_keras_file_reloads(case, tmp_path):
    model, _, inputs = _built(case)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), model(inputs))
    assert len(again.weights) == len(model.weights)


@all_layers
def test_saved_model_reloads_with_an_open_batch(case, tmp_path):
    model, _, inputs = _built(case)
    model.export(tmp_path / "export", verbose=False)
    again = tf.saved_model.load(str(tmp_path / "export"))
    expected = model(inputs)
    np.testing.assert_allclose(again.serve(inputs), expected, rtol=1e-6, atol=1e-6)
    two = [x[:2] for x in inputs]
    np.testing.assert_allclose(again.serve(two), expected[:2], rtol=1e-5, atol=1e-6)


@all_layers
def test_graph_and_xla_equal_eager_in_values_and_gradients(case):
    model, _, inputs = _built(case)
    weights = [w.value for w in model.trainable_weights]

    def step(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = model(list(inputs))
            loss = tf.reduce_sum(tf.square(y))
        return [y, *tape.gradient(loss, [*inputs, *weights])]

    eager = step(*inputs)
    assert all(gradient is not None for gradient in eager)
    for compiled in (tf.function(step), tf.function(step, jit_compile=True)):
        for got, expected in zip(compiled(*inputs), eager, strict=True):
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5 * (1 + np.abs(expected).max()))


@all_layers
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_dtype_policies(case, policy):
    exact, _, inputs = _built(case)
    model, layer, _ = _built(case, dtype=policy)
    y = model([tf.cast(x, layer.compute_dtype) for x in inputs])
    assert y.dtype == layer.compute_dtype
    assert {w.dtype for w in layer.trainable_weights} <= {layer.variable_dtype}
    tolerance = {"mixed_bfloat16": 0.05, "mixed_float16": 0.01, "float64": 1e-5}[policy]
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), exact(inputs), rtol=tolerance, atol=tolerance * np.abs(exact(inputs)).max()
    )


@all_layers
def test_half_precision_trains(case):
    model, layer, inputs = _built(case, dtype="mixed_bfloat16")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(model(inputs), tf.float32))
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights]), strict=True
    ):
        assert gradient.dtype == layer.variable_dtype
        assert np.isfinite(gradient).all(), weight.path
