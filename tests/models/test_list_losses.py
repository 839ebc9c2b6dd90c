"""Losses over lists: against NumPy, keras_rs and Keras, and what must not matter to them."""

import keras
import keras_rs
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import FEATURES, INPUTS, LABELS, STATISTICS, TASKS, WEIGHTS
from tfstable.models import JointRanking, RankingModel
from tfstable.models.list_losses import NEIGHBOURS, loss
from tfstable.models.losses import example_losses
from tfstable.specs import GROUP, LOGIT_SUM, OFFSET, BinaryTask, ListLoss

KINDS = ("pairwise", "softmax", "list_ce")
ROWS = 60


def task(kind: str, weight: float = 1.0, **keys) -> BinaryTask:
    return BinaryTask(kind="binary", loss=ListLoss(kind=kind, weight=weight), **keys)


def expected(kind: str, s, y, groups, w) -> np.ndarray:
    """The losses by their definitions, row by row."""
    losses = np.zeros(len(s))
    counts = np.isfinite(y) & (w > 0) & (groups >= 0)
    f = np.exp(s) if kind == "softmax" else 1 / (1 + np.exp(-s))
    for i in np.flatnonzero(counts):
        own = np.flatnonzero(counts & (groups == groups[i]))
        others = own[own != i]
        if kind != "pairwise":
            losses[i] = -y[i] * np.log(w[i] * f[i] / (w[own] * f[own]).sum())
        elif (negative := w[others] * (1 - y[others])).sum():
            losses[i] = y[i] * (negative * np.log1p(np.exp(s[others] - s[i]))).sum() / negative.sum()
    return losses


def examples(seed: int = 0) -> tuple[np.ndarray, ...]:
    """Logits, labels, groups and weights: some labels are masked, some rows have no group, some weigh nothing."""
    rng = np.random.default_rng(seed)
    s, y = rng.normal(0, 3, ROWS), rng.integers(0, 2, ROWS).astype(float)
    y[rng.random(ROWS) < 0.1] = np.nan
    return s, y, rng.integers(-1, 12, ROWS), rng.integers(0, 4, ROWS) / 2


def gradient(kind: str, s, y, groups, w) -> np.ndarray:
    """Of the sum of the examples' losses, each times its weight, by the logits."""
    s = tf.constant(s, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(s)
        total = tf.reduce_sum(loss(task(kind), s, tf.constant(y), tf.constant(groups), tf.constant(w)) * w)
    return tf.convert_to_tensor(tape.gradient(total, s)).numpy()


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_what_their_definitions_say(kind, soft):
    s, y, groups, w = examples()
    y = y * 0.7 + 0.1 if soft else y
    inputs = tf.constant(s), tf.constant(y), tf.constant(groups), tf.constant(w)
    found = [loss(task(kind), *inputs)]
    if soft:  # The same under XLA.
        found.append(tf.function(loss, jit_compile=True, autograph=False)(task(kind), *inputs))
    for each in found:
        np.testing.assert_allclose(each, expected(kind, s, y, groups, w), rtol=1e-12, atol=1e-12)


def test_jrc_shares_the_group_in_both_classes():
    s, y, groups, w = examples()
    total = np.random.default_rng(2).normal(0, 2, ROWS)
    found = loss(task("jrc"), *map(tf.constant, (s, y, groups, w)), sums=tf.constant(total))
    of_class = (y, (total + s) / 2), (1 - y, (total - s) / 2)
    theirs = sum(expected("softmax", f, labels, groups, w) for labels, f in of_class)
    np.testing.assert_allclose(found, theirs, rtol=1e-12, atol=1e-12)


def test_they_are_those_of_keras_rs_and_keras():
    """On lists of one length without masks: theirs take `(lists, length)`, and no example weights within a list."""
    lists, length = 8, 6
    s = np.float32(np.random.default_rng(0).normal(0, 2, (lists, length)))
    y = np.tile(np.float32([1, 0, 0, 1, 0, 0]), (lists, 1))
    groups = np.repeat(np.arange(lists), length)
    pairwise, softmax, _ = (
        tf.reduce_sum(loss(task(kind), tf.constant(s.ravel()), y.ravel(), groups)) for kind in KINDS
    )
    # Theirs sums the pairs; here each positive is worth its mean over four negatives.
    pairs = keras_rs.losses.PairwiseLogisticLoss(reduction="sum")(y, s)
    assert float(pairwise) == pytest.approx(float(pairs) / 4, rel=1e-5)
    shares = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum")(y, s)
    assert float(softmax) == pytest.approx(float(shares), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_finite_and_leaves_alone_what_does_not_count(kind):
    s, y, groups, w = examples()
    left_out = np.isnan(y) | (w == 0) | (groups < 0)
    s[left_out] = 1e4  # Far above all others: no exponential may overflow.
    found = gradient(kind, s, y, groups, w)
    assert np.isfinite(found).all()
    assert (found[left_out] == 0).all()
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, gradient(kind, np.where(left_out, 0, s), y, groups, w), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_as_many_copies(kind):
    s, y, groups, w = examples()
    w = np.round(2 * w)
    times = w.astype(int)
    copies = gradient(kind, *(np.repeat(x, times) for x in (s, y, groups)), np.ones(times.sum()))
    summed = np.zeros(ROWS)
    np.add.at(summed, np.repeat(np.arange(ROWS), times), copies)
    np.testing.assert_allclose(gradient(kind, s, y, groups, w), summed, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weight_of_positives_and_the_rate_of_negatives_are_weights(kind):
    s, y, groups, _ = examples()
    rates = np.random.default_rng(1).uniform(0.1, 1, ROWS)
    same = np.where(y == 1, 3.0, 1 / rates)
    of_rates = loss(task(kind, positive_weight=3.0), *map(tf.constant, (s, y, groups)), offset=np.log(rates))
    of_weights = loss(task(kind), *map(tf.constant, (s, y, groups, same)))
    np.testing.assert_allclose(of_rates, np.where(y == 1, 3, 1) * of_weights, rtol=1e-12)


def test_only_an_order_between_classes_is_asked_for():
    s, ones, groups = tf.constant([2.0, -1.0, 0.5]), tf.ones(3), tf.constant([4, 4, 4])
    assert not np.any(loss(task("pairwise"), s, ones, groups))  # Without a negative,
    for kind in KINDS:
        assert not np.any(loss(task(kind), s, tf.zeros(3), groups))  # without a positive,
        assert not np.any(loss(task(kind), s, ones, tf.constant([1, 2, 3])))  # and alone.
        assert not np.any(loss(task(kind), s, ones, tf.constant([-1, -1, -1])))
    # An order that cannot be better costs next to nothing.
    for kind in ("pairwise", "softmax"):
        assert np.all(loss(task(kind), tf.constant([50.0, 0.0, 0.0]), tf.constant([1.0, 0.0, 0.0]), groups) < 1e-6)


def test_list_ce_is_least_at_the_probabilities():
    """Lists of two rows, positive with 0.2 and 0.6: softmax draws their logits elsewhere, list_ce does not."""
    p = np.array([0.2, 0.6])
    y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # A list for each outcome, weighed by its chance.
    weights = np.repeat(np.where(y, p, 1 - p).prod(axis=1), 2)
    inputs = np.tile(np.log(p / (1 - p)), 4), y.ravel().astype(float), np.repeat(np.arange(4), 2), weights
    softmax, list_ce = (gradient(kind, *inputs).reshape(4, 2).sum(axis=0) for kind in ("softmax", "list_ce"))
    np.testing.assert_allclose(list_ce, 0, atol=1e-12)
    assert np.abs(softmax).min() > 0.01


def test_a_large_group_is_compared_with_some_of_its_rows():
    rows = 3 * NEIGHBOURS
    s, y = tf.zeros(rows), tf.constant(np.float32(np.arange(rows) % 2))
    found = loss(task("pairwise"), s, y, tf.zeros(rows, tf.int64))
    np.testing.assert_allclose(found, np.where(y == 1, np.log(2), 0), rtol=1e-6)  # A mean over those it saw.


@pytest.mark.parametrize("kind", KINDS)
def test_parts_that_hold_whole_groups_add_up(kind):
    s, y, groups, w = examples()
    groups = np.sort(np.abs(groups) % 6) + 6 * (np.arange(ROWS) >= 30)
    whole = loss(task(kind), *map(tf.constant, (s, y, groups, w)))
    halves = [
        loss(task(kind), *(tf.constant(x[half]) for x in (s, y, groups, w))) for half in (slice(30), slice(30, 60))
    ]
    np.testing.assert_allclose(whole, np.concatenate(halves), rtol=1e-12, atol=1e-12)


# --- In a model.


def model(**tasks: BinaryTask) -> RankingModel:
    keras.utils.set_random_seed(0)
    return RankingModel(FEATURES, {**TASKS, **tasks}, STATISTICS, units=(8,))


Y = {**LABELS, GROUP: np.int64([5, 5, 5, 5, 2, 2])}


def test_a_task_mixes_cross_entropy_and_the_list_loss():
    mixed, plain = model(click=task("softmax", 0.25)), model()
    logits = plain.logits(INPUTS)
    of_lists = loss(task("softmax"), logits["click"], LABELS["click"], Y[GROUP], WEIGHTS)
    cross_entropy = plain.task_losses(LABELS, logits, WEIGHTS)
    found = mixed.task_losses(Y, logits, WEIGHTS)
    expected = 0.75 * cross_entropy["click"] + 0.25 * tf.reduce_mean(of_lists * WEIGHTS)
    assert float(found["click"]) == pytest.approx(float(expected), rel=1e-6)
    for name in ("like", "time"):
        assert float(found[name]) == float(cross_entropy[name])


def test_rates_of_rows_reach_the_list_loss():
    y = {"click": tf.constant([1.0, 0.0, 0.0]), GROUP: tf.constant([1, 1, 1]), OFFSET + "click": tf.math.log([0.5] * 3)}
    sampled = task("softmax", negative_rate="rate")
    found = example_losses("click", sampled, {"click": tf.zeros(3)}, y, None)
    np.testing.assert_allclose(found, [np.log(5), 0, 0], rtol=1e-6)  # Each negative stands for two.


def test_keras_fits_them():
    ours = model(click=task("pairwise", 0.5))
    ours.compile(keras.optimizers.SGD(0.05), metrics={"click": ["auc"]})
    y = {**LABELS, GROUP: Y[GROUP][:, None].astype(np.int32)}
    history = ours.fit(INPUTS, y, sample_weight=WEIGHTS, validation_data=(INPUTS, y), epochs=3, verbose=0).history
    assert history["loss"][0] > history["loss"][-1]
    loaded = RankingModel.from_config(ours.get_config())
    assert loaded.task_specs["click"].loss == ListLoss(kind="pairwise", weight=0.5)


def test_a_second_logit_is_there_for_jrc_alone():
    tasks = {**TASKS, "click": task("jrc", 0.5)}
    joint = JointRanking(FEATURES, tasks, STATISTICS, units=(8,))
    joint = JointRanking.from_config(joint.get_config())
    logits = joint.logits(INPUTS)
    assert set(logits) == {*TASKS, LOGIT_SUM + "click"}
    np.testing.assert_allclose(joint(INPUTS)["click"], tf.sigmoid(logits["click"]), rtol=1e-6)
    assert set(joint(INPUTS)) == set(TASKS)
    with tf.GradientTape() as tape:
        total = joint.compute_loss(y=Y, y_pred=joint.logits(INPUTS), sample_weight=WEIGHTS)
    assert np.abs(tape.gradient(total, joint.sums_of["click"].kernel.value)).max() > 0
    with pytest.raises(ValueError, match="the loss jrc, but heads returned no //sum/click; take"):
        model(click=task("jrc")).task_losses(Y, {name: logits[name] for name in TASKS})


def test_groups_that_are_missing_are_named():
    ours = model(click=task("pairwise", 0.5))
    ours.compile("sgd")
    with pytest.raises(ValueError, match="y must have //group, the number of each example's group"):
        ours.fit(INPUTS, LABELS, verbose=0)
    logits = dict.fromkeys(ours.task_specs, tf.zeros(6))
    with pytest.raises(ValueError, match="y must have integers under //group"):
        ours.task_losses({**LABELS, GROUP: WEIGHTS}, logits)
