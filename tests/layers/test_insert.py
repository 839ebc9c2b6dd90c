"""Layers inserted into a trained model: it predicts the same, and goes on learning."""

import keras
import numpy as np
import pytest

from tests.layers.gated import X
from tfstable.layers import ReZeroStack, insert
from tfstable.optimizers import Adagrad


def test_inserted_layer_changes_no_prediction_and_learns(tmp_path):
    model = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    model.compile(Adagrad(0.1), "mse")
    y = np.random.default_rng(1).normal(size=(6, 1))
    model.fit(X, y, epochs=3, verbose=0)
    deeper = insert(model, 1, ReZeroStack(12))
    np.testing.assert_array_equal(deeper(X), model(X))
    assert len(deeper.weights) == len(model.weights) + 4
    deeper.save(tmp_path / "deeper.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "deeper.keras")(X), model(X))
    deeper.compile(Adagrad(0.1), "mse")
    deeper.fit(X, y, epochs=3, verbose=0)
    assert float(deeper.layers[1].alpha) != 0


def functional(make):
    x = keras.Input((8,))
    return keras.Model(x, make(x))


class Doubled(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return 2 * super().call(x, training=training)


def several(x):
    return [keras.layers.Dense(1)(x), keras.layers.Dense(1)(x)]


def shared(x):
    layer = keras.layers.Dense(8, "relu")
    return layer(layer(x))


@pytest.mark.parametrize(
    "model",
    [
        functional(lambda x: x + keras.layers.Dense(8, "relu")(x)),
        functional(shared),
        functional(several),
        functional(keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(1)])),
        keras.Model([a := keras.Input((8,)), b := keras.Input((8,))], keras.layers.Add()([a, b])),
        Doubled([keras.Input((8,)), keras.layers.Dense(8)]),
    ],
    ids=["skip", "shared", "outputs", "nested", "inputs", "subclass"],
)
def test_insert_refuses_what_is_not_one_layer_after_the_other(model):
    with pytest.raises(ValueError, match=r"insert needs a keras.Sequential.*; build a new model.* carry_over"):
        insert(model, 1, keras.layers.Dense(8))


def test_insert_keeps_a_model_inside_the_model_and_the_dtype_of_its_input():
    inner = functional(lambda x: x + keras.layers.Dense(8, "relu")(x))
    table = keras.layers.Embedding(2**24 + 16, 1)  # Ids above 2^24, which float32 does not hold.
    start = keras.Input((8,), dtype="int64")
    model = keras.Sequential([start, table, keras.layers.Flatten(), inner, keras.layers.Dense(1)])
    ids = np.arange(8)[None] + 2**24 + 1
    deeper = insert(model, 3, keras.layers.Dense(8))
    assert deeper.layers[2] is inner
    np.testing.assert_array_equal(deeper(ids), model(ids))
