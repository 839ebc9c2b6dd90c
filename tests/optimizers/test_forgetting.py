"""Accumulators that forget at the end of a window: as NumPy does it, on every row, on every replica, and only then."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import reference
from tests.optimizers.cases import HEIGHT, WIDTH, gradients, make_variables
from tests.optimizers.replicas import make_strategy, train
from tfstable.optimizers import Adagrad, Adam, ClippyAdagrad, Composite, Group, Swa, adagrad

INITIAL = 0.2


def made(optimizer, *variables):
    optimizer.build(list(variables))
    return optimizer


@pytest.mark.parametrize("make", [Adagrad, ClippyAdagrad])
def test_equals_numpy_on_dense_variables_and_on_every_row_of_a_table(make, monkeypatch):
    monkeypatch.setattr(adagrad, "CHUNK", 4 * WIDTH)  # Nine rows in chunks of four, four and one.
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(HEIGHT, WIDTH)), rng.normal(size=(5, 4)), np.zeros(())]
    table, *dense = variables = [keras.Variable(w, dtype="float64", name=f"w{i}") for i, w in enumerate(starts)]
    table.is_embedding_table = True
    optimizer = made(make(0.125, initial_accumulator=INITIAL, forget=0.75), *variables)

    def rule(g, state, t):
        return reference.adagrad(g, state, t, initial=INITIAL)

    clipping = reference.clippy if make is ClippyAdagrad else reference.no_clipping
    expected = [reference.Table(starts[0], rule, clipping), *(reference.Dense(w, rule, clipping) for w in starts[1:])]
    for step in range(24):
        ids = rng.integers(0, HEIGHT - 3, size=4)  # The last rows are touched in the first step alone.
        ids = np.arange(HEIGHT) if step == 0 else ids
        values = rng.normal(size=(len(ids), WIDTH))
        others = [rng.normal(size=w.shape) for w in starts[1:]]
        optimizer.apply([tf.IndexedSlices(values, ids, starts[0].shape), *map(tf.constant, others)])
        expected[0].step(ids, values, 0.125)
        for tensor, g in zip(expected[1:], others, strict=True):
            tensor.step(g, 0.125)
        if step % 3 == 2:
            weights = [v.numpy() for v in variables]
            optimizer.end_window()
            for state in [*expected[0].states, *(tensor.state for tensor in expected[1:])]:
                state["G"] = reference.forget(state["G"], 0.75, INITIAL)
            for variable, weight in zip(variables, weights, strict=True):
                np.testing.assert_array_equal(variable.numpy(), weight)
        for variable, tensor in zip(variables, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), tensor.w, rtol=1e-11, err_msg=f"step {step}")
        rows = np.stack([state["G"] for state in expected[0].states])
        np.testing.assert_allclose(optimizer.accumulator(table).numpy(), rows, rtol=1e-12)
        for variable, tensor in zip(dense, expected[1:], strict=True):
            np.testing.assert_allclose(optimizer.accumulator(variable).numpy(), tensor.state["G"], rtol=1e-12)
    assert (optimizer.accumulator(table).numpy()[-3:] == INITIAL).any()  # As if never touched, and never below.


def test_a_window_s_end_changes_no_other_state():
    for make in (Adagrad, lambda: Adam(0.1), lambda: Adagrad(0.1, forget=1.0)):
        variables = make_variables()
        optimizer = made(make(), *variables)
        optimizer.apply(gradients(0))
        before = [v.numpy() for v in (*variables, *optimizer.variables)]
        optimizer.end_window()
        for value, variable in zip(before, (*variables, *optimizer.variables), strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)


def test_each_group_forgets_its_own_share_and_the_average_takes_its_snapshot():
    table, *dense = variables = make_variables()
    groups = [
        Group("embeddings", Adagrad(0.5, 0.0, forget=0.5)),
        Group("kernel", ClippyAdagrad(0.5, initial_accumulator=0.0, forget=0.25)),
        Group("bias", Adagrad(0.5, 0.0)),
    ]
    optimizer = made(Composite(groups, averaging=Swa()), *variables)
    optimizer.apply(gradients(3))
    accumulators = [g.optimizer.accumulator(v) for g, v in zip(groups, (table, *dense), strict=True)]
    before = [G.numpy() for G in accumulators]
    optimizer.end_window()
    for G, value, share in zip(accumulators, before, (0.5, 0.25, 1.0), strict=True):
        np.testing.assert_array_equal(G.numpy(), share * value)
    assert int(optimizer.averaging.snapshots.numpy()) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_accumulators_of_bfloat16_weights_forget_in_float32(dtype):
    variables = make_variables(dtype)
    optimizer = made(Adagrad(0.5, 0.1, forget=0.9), *variables)
    optimizer.apply(gradients(0, dtype))
    before = [optimizer.accumulator(v).numpy() for v in variables]
    optimizer.end_window()
    for G, variable in zip(before, variables, strict=True):
        expected = np.maximum(np.float32(0.9) * G, np.float32(0.1))
        assert expected.dtype == np.float32
        np.testing.assert_array_equal(optimizer.accumulator(variable).numpy(), expected)


def test_two_replicas_forget_as_one():
    def make():
        optimizers.append(
            Composite([Group("embeddings", Adagrad(0.5, forget=0.5)), Group("dense", ClippyAdagrad(0.5, forget=0.25))])
        )
        return optimizers[-1]

    optimizers, accumulators = [], []
    for replicas in (1, 2):
        train(make, replicas, steps=2)
        optimizers[-1].end_window()  # Outside of the strategy's scope, as the trainer does it.
        state = [v.value for v in optimizers[-1].variables if "accumulator" in v.path]
        copies = [make_strategy(replicas).experimental_local_results(G) for G in state]
        accumulators.append([[copy.numpy() for copy in each] for each in copies])
    assert len(accumulators[0]) == 3
    for (one,), (first, second) in zip(*accumulators, strict=True):
        np.testing.assert_array_equal(first, one)
        np.testing.assert_array_equal(second, one)


@pytest.mark.parametrize("wrong", [0, -0.5, 1.5, float("nan"), "0.9"])
def test_a_share_outside_its_domain_is_refused(wrong):
    with pytest.raises(ValueError, match=r"forget must be a finite number, above 0, at most 1; got"):
        ClippyAdagrad(forget=wrong)
