"""Parity with the optimizers that users come from: TFRS's ClippyAdagrad and Keras 2's Adagrad.

Both need Keras 2, so they run in a process of their own, on gradients that are saved for them.
"""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.optimizers import Adagrad, ClippyAdagrad

STEPS = 100
PEER = """
import json, sys
import numpy as np, tensorflow as tf
from tensorflow_recommenders.experimental.optimizers import ClippyAdagrad

data = dict(np.load(sys.argv[1]))
results = {}
for name, options in json.loads(sys.argv[3]).items():
    make = tf.keras.optimizers.Adagrad if name == "keras_2" else ClippyAdagrad
    optimizer, dense, table = make(0.25, **options), tf.Variable(data["dense"]), tf.Variable(data["table"])
    optimizer.build([dense, table])

    @tf.function
    def apply(gradient, rows, ids):
        optimizer.apply_gradients([(gradient, dense), (tf.IndexedSlices(rows, ids, tf.constant([20, 4])), table)])

    for step in zip(data["gradients"], data["rows"], data["ids"]):
        apply(*map(tf.constant, step))
    results |= {name + "_dense": dense.numpy(), name + "_table": table.numpy()}
np.savez(sys.argv[2], **results)
"""

# TFRS's options, and the same in ours. At relative 0.1 both clip in most steps.
CLIPPY = {
    "defaults": ({}, {}),
    "standard": ({"use_standard_accumulator_update": True}, {"delayed_accumulator": False}),
    "clipped_accumulator": ({"clip_accumulator_update": True}, {"clip_accumulator_update": True}),
    "accumulator_relative": ({"accumulator_relative_threshold": 0.01}, {"accumulator_relative_threshold": 0.01}),
    "thresholds": (
        {"variable_relative_threshold": 0.5, "absolute_threshold": 1e-2},
        {"relative_threshold": 0.5, "absolute_threshold": 1e-2},
    ),
}
TFRS_DEFAULTS = {
    "relative_threshold": 0.1,
    "absolute_threshold": 1e-7,
    "epsilon": 1e-7,
    "delayed_accumulator": True,
}


def make_data():
    rng = np.random.default_rng(0)
    return {
        "dense": rng.normal(size=(6, 5)).astype("float32"),
        "table": rng.normal(size=(20, 4)).astype("float32"),
        "gradients": rng.normal(size=(STEPS, 6, 5)).astype("float32"),
        "ids": rng.integers(0, 20, size=(STEPS, 12)),  # with duplicates
        "rows": rng.normal(size=(STEPS, 12, 4)).astype("float32"),
    }


def train_ours(optimizer, data):
    dense, table = (keras.Variable(data[name], name=name) for name in ("dense", "table"))
    table.is_embedding_table = True
    optimizer.build([dense, table])

    @tf.function
    def apply(gradient, rows, ids):
        optimizer.apply([gradient, tf.IndexedSlices(rows, ids)], [dense, table])

    for step in zip(data["gradients"], data["rows"], data["ids"], strict=True):
        apply(*map(tf.constant, step))
    return dense.numpy(), table.numpy()


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    """Dense tensor and table of TFRS and of Keras 2 after training, by case."""
    folder = tmp_path_factory.mktemp("peers")
    np.savez(folder / "in.npz", **make_data())
    options = json.dumps({case: theirs for case, (theirs, _) in CLIPPY.items()} | {"keras_2": {}})
    command = [sys.executable, "-c", PEER, str(folder / "in.npz"), str(folder / "out.npz"), options]
    subprocess.run(command, check=True, env=os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})
    return np.load(folder / "out.npz")


@pytest.mark.parametrize("case", CLIPPY)
def test_clippy_adagrad_is_that_of_tfrs(peers, case):
    dense, table = train_ours(ClippyAdagrad(0.25, **TFRS_DEFAULTS | CLIPPY[case][1]), make_data())
    np.testing.assert_allclose(dense, peers[f"{case}_dense"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(table, peers[f"{case}_table"], rtol=1e-6, atol=1e-6)
    assert not np.allclose(dense, peers["keras_2_dense"], atol=1e-2)  # it did clip


def test_adagrad_is_that_of_keras_2(peers):
    dense, table = train_ours(Adagrad(0.25, epsilon=1e-7), make_data())
    np.testing.assert_allclose(dense, peers["keras_2_dense"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(table, peers["keras_2_table"], rtol=1e-6, atol=1e-6)
