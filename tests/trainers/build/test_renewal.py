"""Rows of new ids start anew: weights, slots and averages, and nothing else moves."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.inputs.ids import Given
from tfstable.inputs.statistics import Statistics
from trainers.build.learner import make_learner
from trainers.build.renewal import renew
from trainers.config import Config

DAY = date(2025, 1, 3)
RULES = {
    "adagrad": {"rule": "adagrad", "initial_accumulator": 0.25},
    "by row": {"rule": "adagrad", "initial_accumulator": 0.25, "accumulator": "row"},
    "adam": {"rule": "adam"},
    "momentum": {"rule": "sgd", "momentum": 0.9},
}


def learner(rule: str, averaging: dict, **feature):
    config = Config.model_validate(
        {
            "data": {"path": "log"},
            "features": {
                "user": {"kind": "hash", "buckets": 4, "dim": 3},
                "video": {"kind": "id", "capacity": 6, "dim": 3, **feature},
            },
            "tasks": {"click": {"kind": "binary"}},
            "model": {"units": [4], "wide": True},
            "optimizer": {"embeddings": RULES[rule], "averaging": averaging},
        }
    )
    columns = dict.fromkeys(("user", "video"), RawColumn(dtype="int64"))
    return make_learner(config, Statistics(columns=columns, base_rates={"click": 0.3}))


def train(one, steps: int = 3):
    for step in range(steps):
        rows = tf.constant([1, 2, 3, 5, (step % 2) * 6], tf.int32)
        with tf.GradientTape() as tape:
            logits = one.model({"user": rows % 5, "video": rows}, as_logits=True)["click"]
            loss = tf.reduce_sum(tf.square(logits - tf.range(5.0)))
        one.optimizer.apply(tape.gradient(loss, one.model.trainable_variables), one.model.trainable_variables)
    if one.optimizer.averaging is not None:
        one.optimizer.averaging.snapshot()


def state(one) -> dict[str, np.ndarray]:
    found = [*one.model.variables, *one.optimizer.variables]
    return {f"{i} {v.path}": v.numpy() for i, v in enumerate(found)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("averaging", [{"kind": "ema", "horizon_steps": 4}, {"kind": "swa"}], ids=["ema", "swa"])
def test_given_rows_are_as_at_the_start_and_all_else_as_it_was(rule, averaging):
    one = learner(rule, averaging)
    fresh = state(one)
    train(one)
    before = state(one)
    renew(one, {"video": Given(pa.array([70, 80]), np.array([2, 5], np.int32), 0, 0)}, seed=1, last=DAY)
    after = state(one)
    start = one.model.embeddings.place("video")[1]  # Behind the user's rows.
    rows = np.array([start + 2, start + 5])
    of_tables = [name for name, value in before.items() if value.ndim and len(value) == 5 + 7]
    assert len(of_tables) >= 4  # Both tables and their averages, at least.
    for name, value in after.items():
        if name not in of_tables:
            np.testing.assert_array_equal(value, before[name], err_msg=name)
            continue
        others = np.setdiff1d(np.arange(len(value)), rows)
        np.testing.assert_array_equal(value[others], before[name][others], err_msg=name)
        if not name.endswith(("embeddings/tables_3", "average", "before")):
            np.testing.assert_array_equal(
                value[rows], fresh[name][rows] if "covered" not in name else before[name][rows]
            )
    with one.optimizer.averaged_weights():
        averages = state(one)
    for name in ("tables_3", "wide/tables_1"):
        (path,) = (p for p in after if p.endswith(name))
        np.testing.assert_array_equal(averages[path][rows], after[path][rows])
    (table,) = (after[path] for path in after if path.endswith("embeddings/tables_3"))
    assert 0 < np.abs(table[rows]).max() < 0.05  # Normal, of deviation 0.01.


def test_the_mean_of_a_new_row_is_over_its_own_snapshots():
    one = learner("momentum", {"kind": "swa"})
    train(one)
    train(one)
    renew(one, {"video": Given(pa.array([7]), np.array([2], np.int32), 0, 0)}, seed=1, last=DAY)
    seen = []
    for _ in range(2):
        train(one)
        seen.append(one.model.embeddings.tables()["video"][2])
    with one.optimizer.averaged_weights():
        np.testing.assert_allclose(one.model.embeddings.tables()["video"][2], np.mean(seen, axis=0), rtol=1e-5)


def test_an_id_with_a_given_vector_starts_from_it(tmp_path):
    np.savez(tmp_path / "v.npz", id=np.array([80, 90]), vector=np.arange(6.0).reshape(2, 3))
    one = learner("adagrad", {"kind": "swa"}, pretrained=str(tmp_path / "v.npz"))
    renew(one, {"video": Given(pa.array([70, 80]), np.array([4, 1], np.int32), 0, 0)}, seed=1, last=DAY)
    table = one.model.embeddings.tables()["video"]
    np.testing.assert_array_equal(table[1], [0.0, 1.0, 2.0])
    assert np.abs(table[4]).max() < 0.05
