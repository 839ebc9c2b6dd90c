"""Two replicas do what one does with the whole batch, and skip together."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers.cases import OPTIMIZERS
from tests.optimizers.replicas import make_strategy, train
from tfstable.optimizers import Adagrad, Clippy, ClippyAdagrad, Composite, Group


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(OPTIMIZERS["AdaX"], id="rule"),
        pytest.param(OPTIMIZERS["Composite"], id="groups"),
        pytest.param(OPTIMIZERS["Adafactor"], id="adafactor", marks=pytest.mark.slow),
        pytest.param(OPTIMIZERS["Muon"], id="muon", marks=pytest.mark.slow),
    ],
)
def test_two_replicas_equal_one(make):
    one, two = train(make, 1, steps=6), train(make, 2, steps=6)
    for path, (first, second) in two.items():
        np.testing.assert_array_equal(first, second, err_msg=f"replicas differ in {path}")
        np.testing.assert_array_equal(first, one[path][0], err_msg=f"two replicas differ from one in {path}")


@pytest.mark.parametrize("bad_replica", [0, 1])
def test_a_nan_on_either_replica_skips_the_step_of_all_groups_on_both(bad_replica):
    def make():
        return Composite([Group("embeddings", Adagrad(0.5)), Group("dense", ClippyAdagrad(0.5, weight_decay=0.125))])

    state = train(make, 2, steps=6, bad_replica=bad_replica)
    assert [int(c) for c in state["composite/skipped_steps"]] == [3, 3]
    assert [int(c) for c in state["composite/iteration"]] == [3, 3]
    for path, (first, second) in state.items():
        np.testing.assert_array_equal(first, second, err_msg=path)
        # Untracked, the diagnostics are NaN as at the start.
        assert np.all(np.isnan(first) if path.endswith("_diagnostics") else np.isfinite(first)), path
    # Steps 0, 2 and 4 alone, on one replica, by hand for one row: id 4 gets (2, 0, 1) * (1, 3, 5).
    w, G = np.float32(np.linspace(-1, 1, 27).reshape(9, 3)[4, 0]), np.float32(0.1)
    for g in (2.0, 6.0, 10.0):
        G += np.float32(g * g)
        w -= np.float32(0.5) * np.float32(g / np.sqrt(G))
    np.testing.assert_allclose(state["ids"][0][4, 0], w, rtol=1e-6)


def test_apply_outside_a_replica_is_refused():
    strategy = make_strategy(2)
    with strategy.scope():
        w = keras.Variable(np.ones(2), name="w")
        optimizer = Adagrad(0.1, clipping=Clippy())
        optimizer.build([w])
        with pytest.raises(ValueError, match=r"inside `strategy\.run`"):
            optimizer.apply([tf.ones(2)], [w])
