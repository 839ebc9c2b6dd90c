"""Frozen tables and tables of a rate of their own, beside others of one width."""

import keras
import numpy as np
import tensorflow as tf

from tfstable.layers import EmbeddingFeature, Embeddings
from tfstable.optimizers import SGD, Adagrad, Clippy

FEATURES = {
    "plain": EmbeddingFeature("plain", 5, 2),
    "frozen": EmbeddingFeature("frozen", 6, 2, trainable=False),
    "slow": EmbeddingFeature("slow", 7, 2, rate=0.1),
    "again": EmbeddingFeature("plain", 5, 2, "sum"),
    "wide": EmbeddingFeature("wide", 4, 3, trainable=False),
}
INPUTS = {"plain": [1, 2], "frozen": [5, 0], "slow": [6, 1], "again": [[0, 3], [4, -1]], "wide": [3, 0]}


def made() -> tuple[Embeddings, dict[str, tf.Tensor]]:
    keras.utils.set_random_seed(0)
    layer = Embeddings(FEATURES, stddev=1.0)
    layer.build()
    return layer, {name: tf.constant(value, tf.int32) for name, value in INPUTS.items()}


def test_every_table_is_found_where_it_lies():
    layer, inputs = made()
    tables = layer.tables()
    out = layer(inputs)
    for name in ("plain", "frozen", "slow", "wide"):
        np.testing.assert_array_equal(out[name], tables[name][INPUTS[name]])
    np.testing.assert_allclose(out["again"], [tables["plain"][0] + tables["plain"][3], tables["plain"][4]], rtol=1e-6)
    np.testing.assert_array_equal(layer(inputs, joined=True), np.concatenate(list(out.values()), axis=1))
    np.testing.assert_array_equal(layer.side_by_side(["frozen"], inputs)[:, 0], out["frozen"])
    layer.assign_tables({name: table + 1 for name, table in tables.items()})
    for name, table in layer.tables().items():
        np.testing.assert_array_equal(table, tables[name] + 1)
    again = Embeddings.from_config(layer.get_config())
    assert again.features == layer.features


def step(optimizer) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Embeddings]:
    layer, inputs = made()
    before = layer.tables()
    optimizer.build(layer.trainable_variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs, joined=True) * 3.0)
    gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
    optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=True))
    return before, layer.tables(), layer


def test_a_frozen_table_has_no_gradient_no_slot_and_no_step():
    optimizer = Adagrad(0.1)
    before, after, layer = step(optimizer)
    for name in ("frozen", "wide"):
        np.testing.assert_array_equal(after[name], before[name])
    assert (after["plain"] != before["plain"]).any()
    assert [v.path.split("/")[-1] for v in layer.trainable_variables] == ["tables_2", "tables_2_rate_0_1"]
    assert not [v.path for v in optimizer.variables if "frozen" in v.path]


def test_a_table_of_its_own_rate_moves_by_that_share():
    before, after, _ = step(SGD(0.5))
    moved = {name: before[name] - after[name] for name in ("plain", "slow")}
    np.testing.assert_allclose(moved["plain"][[0, 1, 2, 3, 4]], 0.5 * 3, rtol=1e-5)
    np.testing.assert_allclose(moved["slow"][[6, 1]], 0.1 * 0.5 * 3, rtol=1e-5)
    np.testing.assert_array_equal(moved["slow"][[0, 2, 3, 4, 5]], 0)


def test_clippy_bounds_the_step_at_its_own_rate():
    # |eta f r| <= absolute at the table's own eta: 0.1 * 0.5 * 3 = 0.15 stays below 0.2, where 0.5 * 3 would not.
    before, after, _ = step(SGD(0.5, clipping=Clippy(0.0, 0.2)))
    np.testing.assert_allclose(before["plain"] - after["plain"], 0.2, rtol=1e-4)
    np.testing.assert_allclose((before["slow"] - after["slow"])[[6, 1]], 0.15, rtol=1e-4)
