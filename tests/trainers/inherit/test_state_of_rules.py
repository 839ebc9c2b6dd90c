"""The optimizer's state where it is not of the weight's shape: sums per row, factors of squares, norms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.optimizers import Adafactor, AdaGC, Adagrad, Composite, Group, Muon, ZClip
from tfstable.specs import BinaryTask, HashFeature, NumericFeature
from trainers.build.learner import Learner
from trainers.build.refit import rescale
from trainers.inherit.carry import carry_out
from trainers.inherit.moves import Carry
from trainers.inherit.names import in_model
from trainers.inherit.plan import Plan

FEATURES = {"user": HashFeature(kind="hash", buckets=4, dim=3), "age": NumericFeature(kind="numeric")}
INPUTS = {"user": np.int32([0, 1, 1, 3]), "age": np.float32([0.5, -1, 2, 0])}
COLUMNS = {"user": RawColumn(dtype="int64"), "age": RawColumn(dtype="float32")}


def statistics(mean=0.0, deviation=1.0):
    return Statistics(columns=COLUMNS, moments={"age": (mean, deviation)}, base_rates={"click": 0.3})


def learner(tables, dense, steps=0):
    keras.utils.set_random_seed(0)
    model = RankingModel(FEATURES, {"click": BinaryTask(kind="binary")}, statistics(), units=(5,))
    model.build()
    optimizer = Composite([Group("embeddings", tables), Group("dense", dense)])
    optimizer.build(model.trainable_variables)
    for step in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(INPUTS, as_logits=True)["click"] - tf.constant([3.0, 1, 0, step])))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    return Learner(model, optimizer, None, None, None)


class Trained:
    """A learner as a source to start from."""

    def __init__(self, of):
        self.of = of
        self.weights = {name: path for path, name in in_model(v.path for v in of.model.variables).items()}
        self.variables = {v.path: v for v in of.model.variables}
        self.state = {v.path.partition("/")[2]: v for v in of.optimizer.variables}

    def shapes(self):
        return {name: tuple(self.variables[path].shape) for name, path in self.weights.items()}

    def weight(self, path, averaged=False):
        return self.variables[self.weights[path]].numpy()

    def slot(self, path, name):
        found = self.state.get(f"{self.weights[path].replace('/', '_')}_{name}")
        return None if found is None else found.numpy()

    def count(self, name):
        return int(self.of.optimizer.iterations.numpy()) if name == "iteration" else None


def carried(source, new, **moves):
    """A new learner with the state of a trained one."""
    there = Trained(source)
    plan = Plan(there, [], {name: Carry(name) for name in there.weights} | moves, [])
    carry_out(plan, new, tf.distribute.get_strategy(), True, {}, {})
    return new


def slots(one, path):
    (variable,) = (v for v in one.model.trainable_variables if v.path.endswith(path))
    return {name: slot.numpy() for name, slot in one.optimizer.slots_of(variable).items()}


@pytest.mark.parametrize(
    "dense",
    [lambda: Adafactor(0.1, clipping=AdaGC(warmup_steps=2)), lambda: Muon(0.01, clipping=ZClip(warmup_steps=2))],
)
def test_the_same_rules_go_on_bit_by_bit(dense):
    source, other = (learner(Adagrad(0.1, accumulator="row"), dense(), steps) for steps in (4, 0))
    new = carried(source, other)
    for one, other in zip(source.optimizer.variables, new.optimizer.variables, strict=True):
        if "diagnostics" not in one.path and "skipped" not in one.path:
            np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_sums_per_weight_become_sums_per_row_and_back():
    def each(steps):
        return learner(Adagrad(0.1), Adagrad(0.1), steps)

    source = each(3)
    (table,) = (v.path for v in source.model.trainable_variables if "embeddings" in v.path)
    sums = slots(source, table.partition("/")[2])["accumulator"]
    new = carried(source, learner(Adagrad(0.1, accumulator="row"), Adagrad(0.1)))
    found = slots(new, table.partition("/")[2])["row_accumulator"]
    np.testing.assert_allclose(found, sums.mean(axis=1, keepdims=True), rtol=1e-6)
    back = slots(carried(new, each(0)), table.partition("/")[2])["accumulator"]
    np.testing.assert_array_equal(back, np.repeat(found, sums.shape[1], axis=1))


def test_factors_follow_their_inputs_and_new_inputs_get_the_mean():
    source = learner(Adagrad(0.1), Adafactor(0.1), 3)
    path = next(v.path for v in source.model.trainable_variables if v.path.endswith("kernel") and v.shape[0] > 1)
    name = in_model(v.path for v in source.model.variables)[path]
    before, rest = slots(source, path.partition("/")[2]), np.array([2, -1, 0, 1])
    move = Carry(name, (rest, None))
    after = slots(carried(source, learner(Adagrad(0.1), Adafactor(0.1)), **{name: move}), path.partition("/")[2])
    np.testing.assert_array_equal(after["column"], before["column"])
    np.testing.assert_array_equal(after["row"][[0, 2, 3]], before["row"][[2, 0, 1]])
    assert after["row"][1] == pytest.approx(before["row"].mean())


def test_numbers_scaled_anew_scale_the_factors_as_they_would_the_squares():
    one = learner(Adagrad(0.1), Adafactor(0.1), 3)

    def squares():
        found = slots(one, kernel)
        return np.outer(found["row"], found["column"]) / found["row"].mean()

    kernel = next(v.path for v in one.model.trainable_variables if v.shape == (4, 5)).partition("/")[2]
    before = squares()
    rescale(one, statistics(mean=1.0, deviation=2.0))  # The number halves, and its gradients.
    expected = before.copy()
    expected[3] /= 4
    np.testing.assert_allclose(squares(), expected, rtol=1e-5)
