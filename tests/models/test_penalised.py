"""A model's training step with each penalty: its loss and gradients, by differences of the model's own function."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import LABELS, TASKS, WEIGHTS, build, inputs
from tests.penalties_reference import half_mean_square, kl, sigmoid, unit, virtual
from tfstable.models import RankingModel, penalties
from tfstable.models.penalties import normal_rows, unit_rows
from tfstable.models.targets import Rows
from tfstable.optimizers import is_embedding_table
from tfstable.specs import BinaryTask, ListLoss

STEP = tf.constant(3, tf.int64)
PENALTIES = {
    "noise": {"kind": "noise", "stddev": 0.3},
    "gradient": {"kind": "gradient", "weight": 0.2},
    "fgm": {"kind": "fgm", "epsilon": 0.3, "share": 0.25},
    "vat": {"kind": "vat", "epsilon": 0.3, "weight": 0.7},
    "flooding": {"kind": "flooding", "level": 1e3},
    "weight_gradient": {"kind": "weight_gradient", "rate": 0.05},
}
ADDED = {name: penalty for name, penalty in PENALTIES.items() if name in ("gradient", "fgm", "vat")}


def model_of(penalty, **keys) -> RankingModel:
    keys = {"dtype": "float64", "activation": "smelu", **keys}
    model = build(penalty=penalty, randomise=True, **keys)
    if model.noise_seed is not None:
        model.noise_seed.state.assign([5, 0])
    return model


def labels(model) -> dict[str, tf.Tensor]:
    return {name: tf.constant(value, model.logit_dtype) for name, value in LABELS.items()}


def step(model, weights=WEIGHTS, rows=None, x=None, y=None):
    x, y = x or inputs(), y or labels(model)
    rows = rows or Rows(0, len(next(iter(y.values()))))
    return model.training_gradients(x, y, weights, rows, STEP, lambda loss: loss)


def moved(model, delta) -> dict[str, np.ndarray]:
    """Logits of rows whose input vectors are moved by `delta`, in training."""
    return {name: f.numpy() for name, f in model.moved_logits(inputs(), lambda v: v + delta).items()}


def loss(model, logits) -> float:
    logits = {name: tf.constant(f) for name, f in logits.items()}
    return float(model.compute_loss(None, labels(model), logits, WEIGHTS))


def width(model) -> int:
    found = []
    model.moved_logits(inputs(), lambda v: found.append(v.shape[1]) or v)
    return found[0]


def differences(model, function) -> np.ndarray:
    """(rows, ..., width): the derivative of each row's `function(logits)` by its input vector."""
    n, h, columns = width(model), 1e-5, []
    for i in range(n):
        delta = np.eye(n)[i] * h
        columns.append((function(moved(model, delta)) - function(moved(model, -delta))) / (2 * h))
    return np.stack(columns, axis=-1)


def losses_of_rows(model):
    def function(logits):
        total = np.zeros(len(WEIGHTS))
        for name, task in TASKS.items():
            y, f = LABELS[name].astype(float), logits[name]
            each = np.logaddexp(0, f) - y * f if task.kind == "binary" else (f - np.log1p(y)) ** 2
            total += task.weight * WEIGHTS * np.where(np.isnan(y), 0, each)
        return total

    return function


def expected_loss(kind, model) -> float:
    """From the formulas, with derivatives by differences."""
    penalty, plain = model.penalty, moved(model, 0.0)
    if kind == "vat":
        binary = [name for name, task in TASKS.items() if task.kind == "binary"]
        factors = np.array([task.weight for task in TASKS.values()])
        bend = [sigmoid(plain[name]) * (1 - sigmoid(plain[name])) if name in binary else 1 for name in TASKS]
        bend = np.stack(np.broadcast_arrays(*bend), axis=1) * factors
        jacobian = differences(model, lambda logits: np.stack([logits[name] for name in TASKS], axis=1))
        d = unit_rows(normal_rows(tf.constant([5, 3]), Rows(0, 6), 6, width(model))).numpy()
        there, added = moved(model, virtual(jacobian, bend, d, penalty.epsilon)), 0.0
        for name, task in TASKS.items():
            if name in binary:
                each = kl(sigmoid(plain[name]), sigmoid(there[name]))
            else:
                each = (plain[name] - there[name]) ** 2 / 2
            added += task.weight * (WEIGHTS * each).mean()
        return loss(model, plain) + penalty.weight * added
    g = differences(model, losses_of_rows(model))
    if kind == "gradient":
        return loss(model, plain) + penalty.weight * half_mean_square(g, WEIGHTS)
    there = loss(model, moved(model, penalty.epsilon * unit(g)))
    return (1 - penalty.share) * loss(model, plain) + penalty.share * there


@pytest.mark.parametrize("kind", ADDED)
def test_the_loss_is_that_of_the_formulas(kind):
    model = model_of(ADDED[kind], tower_units=(3,), cross_depth=1)
    _, found = step(model)
    np.testing.assert_allclose(found.loss, expected_loss(kind, model), rtol=1e-6)
    assert abs(float(found.loss - found.plain)) > 1e-3
    np.testing.assert_allclose(found.plain, loss(model, moved(model, 0.0)), rtol=1e-12)


def direction(model, dense=False) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    own = [rng.normal(size=v.shape) * (not dense or not is_embedding_table(v)) for v in model.trainable_variables]
    return [u / np.sqrt(sum((u**2).sum() for u in own)) for u in own]


def slopes(model, value, u, h=1e-5) -> tuple[float, float]:
    """Of `value()` along `u`: from the gradients of a step, and by differences."""
    gradients, _ = step(model)
    found = sum((tf.convert_to_tensor(g).numpy() * each).sum() for g, each in zip(gradients, u, strict=True))
    before, values = [v.numpy() for v in model.trainable_variables], []
    for sign in (1, -1):
        for v, w, each in zip(model.trainable_variables, before, u, strict=True):
            v.assign(w + sign * h * each)
        values.append(value())
    return found, (values[0] - values[1]) / (2 * h)


def test_the_gradients_are_those_of_the_loss():
    model = model_of(PENALTIES["gradient"])
    np.testing.assert_allclose(*slopes(model, lambda: float(step(model)[1].loss), direction(model)), rtol=1e-6)
    model = model_of(PENALTIES["weight_gradient"])  # Of the dense weights alone, and for them alone.
    plain = model_of(None)
    rate = model.penalty.rate

    def value():
        plain.set_weights(model.get_weights())
        gradients, found = step(plain)
        dense = [g for g, v in zip(gradients, plain.trainable_variables, strict=True) if not is_embedding_table(v)]
        return float(found.loss) + rate / 4 * sum((g.numpy() ** 2).sum() for g in dense)

    np.testing.assert_allclose(*slopes(model, value, direction(model, dense=True)), rtol=1e-5)
    plain.set_weights(model.get_weights())
    for mine, theirs, v in zip(step(model)[0], step(plain)[0], model.trainable_variables, strict=True):
        if is_embedding_table(v):
            np.testing.assert_array_equal(mine.values, theirs.values)


@pytest.mark.slow
def test_the_moves_are_constants():
    model, held = model_of(PENALTIES["fgm"]), model_of(None)
    held.set_weights(model.get_weights())
    r = model.penalty.epsilon * unit(differences(model, losses_of_rows(model)))

    def value():
        held.set_weights(model.get_weights())
        return 0.75 * loss(held, moved(held, 0.0)) + 0.25 * loss(held, moved(held, r))

    np.testing.assert_allclose(*slopes(model, value, direction(model)), rtol=1e-5)


def test_noise_is_on_the_input_of_the_network_and_moves_with_the_step():
    model = model_of(PENALTIES["noise"])
    z = normal_rows(tf.constant([5, 3]), Rows(0, 6), 6, width(model)).numpy()
    _, found = step(model)
    np.testing.assert_allclose(found.plain, loss(model, moved(model, 0.3 * z)), rtol=1e-9)
    assert float(model.training_pass(inputs(), labels(model), WEIGHTS, Rows(0, 6), STEP + 1).loss) != found.loss
    np.testing.assert_array_equal(model.noise_seed.state, [5, 0])


@pytest.mark.parametrize("kind", PENALTIES)
def test_rows_of_weight_0_and_masked_ones_leave_no_trace_and_parts_sum(kind):
    """What padding and replicas rely on: each row's part depends on no other row."""
    penalty = PENALTIES[kind]
    model = model_of(penalty)
    whole, _ = step(model)
    if kind == "weight_gradient":  # Its parts need the sum of all first; tested on replicas.
        return
    cut = [slice(0, 2), slice(2, 6)]
    parts = []
    for piece in cut:
        x, y = ({name: v[piece] for name, v in by_name.items()} for by_name in (inputs(), labels(model)))
        share = len(WEIGHTS[piece]) / 6
        parts.append(
            model.training_gradients(
                x, y, WEIGHTS[piece], Rows(piece.start, 6), STEP, lambda loss, share=share: loss * share
            )[0]
        )
    for all_rows, *of_parts in zip(whole, *parts, strict=True):
        summed = sum(tf.convert_to_tensor(g).numpy() for g in of_parts)
        np.testing.assert_allclose(summed, tf.convert_to_tensor(all_rows), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ADDED)
def test_a_row_of_weight_2_counts_as_two(kind):
    model, twice = model_of(ADDED[kind]), np.float32([2, 1, 1, 1, 1, 1])
    if kind == "vat":  # Its direction is drawn by place in the batch.
        model.noise_seed.state.assign([0, 0])
    again = [0, 0, 1, 2, 3, 4, 5]
    x, y = ({n: tf.gather(v, again) for n, v in by_name.items()} for by_name in (inputs(), labels(model)))
    one, other = step(model, twice)[1], step(model, np.ones(7, np.float32), x=x, y=y)[1]
    if kind == "vat":
        return np.testing.assert_allclose(other.plain * 7 / 6, one.plain, rtol=1e-9)
    return np.testing.assert_allclose(other.loss * 7 / 6, one.loss, rtol=1e-9)


def test_dropout_draws_one_mask_for_both_passes():
    model = model_of(PENALTIES["vat"] | {"epsilon": 1e-6}, dropout=0.5)
    _, found = step(model)
    assert 0 <= float(found.loss - found.plain) < 1e-8  # Other masks would be far apart.
    states = [state.numpy() for state in model.random_states()]
    plain = model_of(None, dropout=0.5)
    step(plain)
    counts = sorted(state[1] for state in states)
    assert counts == sorted([0, *(state.numpy()[1] for state in plain.random_states())])  # And one of the noise.


def test_flooding_turns_the_step_of_a_batch_below_its_level():
    above, below = model_of(PENALTIES["flooding"] | {"level": 1e-3}), model_of(PENALTIES["flooding"])
    for model, sign in ((above, 1), (below, -1)):
        gradients, found = step(model)
        flooded = model.flooded(gradients, found.plain, WEIGHTS)
        for mine, theirs in zip(flooded, gradients, strict=True):
            np.testing.assert_array_equal(tf.convert_to_tensor(mine), sign * tf.convert_to_tensor(theirs).numpy())
    # Half of the rows fill up the batch: they do not halve the loss.
    gradient, level = tf.ones([2]), tf.constant(0.6 * 1e3)
    (kept,) = below.flooded([gradient], level, np.float32([1, 1, 0, 0]))
    np.testing.assert_array_equal(kept, [1, 1])


class AdversarialLoss(RankingModel):
    """FGM by a loss of one's own, from the pieces."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        def loss_of(logits):
            return RankingModel.compute_loss(self, x, y, logits, sample_weight)

        move = penalties.adversarial_move(self.input_gradients(x, loss_of), 0.3)
        return 0.75 * loss_of(y_pred) + 0.25 * loss_of(self.moved_logits(x, lambda v: v + move))


def test_a_subclass_builds_its_own_from_the_pieces():
    of_config = model_of(PENALTIES["fgm"])
    own = build(AdversarialLoss, dtype="float64", activation="smelu")
    own.build()
    own.set_weights(of_config.get_weights())
    mine, theirs = step(own), step(of_config)
    np.testing.assert_allclose(mine[1].loss, theirs[1].loss, rtol=1e-12)
    for g, expected in zip(mine[0], theirs[0], strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(g), tf.convert_to_tensor(expected), rtol=1e-9, atol=1e-12)


def test_losses_over_lists_and_learned_weights_of_tasks(monkeypatch):
    tasks = {**TASKS, "click": BinaryTask(kind="binary", loss=ListLoss(kind="softmax", weight=0.5))}
    monkeypatch.setattr("tests.models.cases.TASKS", tasks)
    for kind in ADDED:
        model = model_of(ADDED[kind], loss_weights="uncertainty")
        y = labels(model) | {"//group": tf.constant([0, 0, 0, 1, 1, -1])}
        gradients, found = step(model, y=y)
        assert np.isfinite(found.loss)
        assert float(found.fixed) != float(found.plain)
        assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"penalty": {"kind": "noise"}}, "penalty.noise.stddev"),
        ({"penalty": {"kind": "fgm", "epsilon": 1, "share": 1.5}}, "penalty.fgm.share: Input should be less than or"),
        ({"penalty": {"kind": "vat", "epsilon": 0}}, "penalty.vat.epsilon: Input should be greater than 0"),
        ({"penalty": PENALTIES["vat"], "task_gradient_limit": 1.0}, "penalty vat differentiates the gradients that"),
        ({"penalty": PENALTIES["flooding"], "loss_weights": "famo"}, "penalty flooding is of one loss, which"),
    ],
)
def test_what_does_not_fit_is_refused(keys, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**keys)


@pytest.mark.slow
def test_bfloat16_has_the_loss_of_float32_up_to_its_digits():
    for kind in ADDED:
        of = {dtype: model_of(ADDED[kind], dtype=dtype) for dtype in ("float32", "mixed_bfloat16")}
        for model in of.values():
            model.set_weights(of["float32"].get_weights())
        found = {dtype: step(model)[1] for dtype, model in of.items()}
        added = {dtype: float(each.loss - each.plain) for dtype, each in found.items()}
        assert found["mixed_bfloat16"].loss.dtype == tf.float32
        np.testing.assert_allclose(added["mixed_bfloat16"], added["float32"], rtol=0.1, err_msg=kind)
