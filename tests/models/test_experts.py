"""Experts and gates: the forward pass against NumPy, in every precision, and back from a file."""

import keras
import numpy as np
import tensorflow as tf

from tests.models.cases import LABELS, TASKS, build, inputs
from tfstable.models import Committee

MMOE = {"kind": "mmoe", "experts": 3, "units": (5,)}
PLE = {"kind": "ple", "experts": 2, "task_experts": 1, "levels": 2, "units": (4, 4)}


def expert(stack, x):
    """Dense layers, each normalised before swish."""
    for dense, norm in zip(*[iter([layer for layer in stack.layers if layer.weights])] * 2, strict=True):
        x = x @ dense.kernel.numpy() + dense.bias.numpy()
        centred = x - x.mean(axis=1, keepdims=True)
        x = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + norm.epsilon)
        x = x * norm.gamma.numpy() + norm.beta.numpy()
        x = x / (1 + np.exp(-x))
    return x


def mixture(gate, x, outputs):
    weights = np.exp(x @ gate.kernel.numpy() + gate.bias.numpy())
    weights /= weights.sum(axis=1, keepdims=True)
    return sum(weights[:, [i]] * output for i, output in enumerate(outputs))


def test_mmoe_against_numpy():
    model = build(randomise=True, bottom=MMOE)
    x = model.bottom(model.interact(model.embed(inputs()))).numpy().astype(np.float64)
    (level,) = model.expert_bottom.levels
    outputs = [expert(stack, x) for stack in level.stacks.values()]
    assert len(outputs) == 3
    for task, found in model.expert_bottom(x).items():
        np.testing.assert_allclose(found, mixture(level.gates[task], x, outputs), rtol=1e-4, atol=1e-5)


def test_ple_against_numpy():
    model = build(randomise=True, bottom=PLE, units=())
    x = model.embed(inputs()).numpy().astype(np.float64)
    reads = dict.fromkeys([*TASKS, ""], x)  # By group: a task, or "" for the shared experts.
    for level in model.expert_bottom.levels:
        shared = [expert(level.stacks[f"shared_{i}"], reads[""]) for i in range(2)]
        own = {task: [expert(level.stacks[f"of_{task}_0"], reads[task])] for task in TASKS}
        mixed = {task: mixture(level.gates[task], reads[task], shared + own[task]) for task in TASKS}
        if "" in level.gates:
            mixed[""] = mixture(level.gates[""], reads[""], shared + [own[task][0] for task in TASKS])
        reads = mixed
    found = model.shared_bottom(model.embed(inputs()))
    assert found.keys() == reads.keys() == set(TASKS)
    for task in TASKS:
        np.testing.assert_allclose(found[task], reads[task], rtol=1e-3, atol=1e-4)


def test_gates_start_at_equal_weights_and_learn_in_each_precision():
    before = keras.config.dtype_policy()
    for policy in ("mixed_bfloat16", "float64"):
        keras.config.set_dtype_policy(policy)
        try:
            model = build(bottom=MMOE, units=())
        finally:
            keras.config.set_dtype_policy(before)
        model.build()
        (level,) = model.expert_bottom.levels
        outputs = {name: tf.fill([1, 2], tf.cast(i, model.compute_dtype)) for i, name in enumerate(level.stacks)}
        logits = {task: tf.constant([[0.0, 0.0, 0.0]], model.compute_dtype) for task in TASKS}
        assert level.mix(outputs, logits)["click"].numpy().tolist() == [[1.0, 1.0]]  # The mean of 0, 1 and 2.
        assert not level.gates["click"].kernel.numpy().any()
        model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
        model.fit(inputs(), LABELS, verbose=0)
        assert level.gates["click"].kernel.numpy().any()


def test_it_comes_back_from_a_file(tmp_path):
    keys = {"dropout": 0.1, "rezero": True, "cross_depth": 1, "cross_arrangement": "parallel"}
    model = build(Committee, randomise=True, members=2, bottom=PLE | {"task_experts": 2, "levels": 1}, **keys)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for task, value in model(inputs()).items():
        np.testing.assert_array_equal(again(inputs())[task], value)


def test_a_committee_averages_members_with_experts_of_their_own():
    model = build(Committee, randomise=True, members=2, bottom=MMOE, units=())
    x = model.interact(model.embed(inputs()))
    members = [
        output(tower(experts(x)["click"]))[:, 0]
        for experts, tower, output in zip(
            model.expert_bottoms, model.towers_of["click"], model.outputs_by_member["click"], strict=True
        )
    ]
    assert np.std(members, axis=0).max() > 1e-2
    np.testing.assert_allclose(model.logits(inputs())["click"], np.mean(members, axis=0), rtol=1e-5, atol=1e-6)
