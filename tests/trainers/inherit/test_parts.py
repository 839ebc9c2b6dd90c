"""The parts of a plan: names, rows of tables, layers, and what becomes of arrays."""

import numpy as np
import pytest

from tfstable.data.columns import RawColumn
from tfstable.inputs.preprocessor import hash_bucket
from tfstable.inputs.statistics import Statistics
from tfstable.specs import HashFeature, QuantileFeature, VocabularyFeature
from trainers.inherit.align import align
from trainers.inherit.moves import Carry, Fold, Stack, TablePart, spread
from trainers.inherit.names import in_model
from trainers.inherit.rows import rows, rows_of_values


def test_names_do_not_depend_on_the_process():
    one = [
        "ranking_model/cross/dense/kernel",
        "ranking_model/cross/dense_1/kernel",
        "ranking_model/bottom/dense_1/bias",
    ]
    other = ["ranking_model_3/cross/dense_9/kernel", "ranking_model_3/cross/dense_10/kernel"]
    assert [*in_model(one).values()] == ["cross/dense/kernel", "cross/dense_1/kernel", "bottom/dense_1/bias"]
    assert [*in_model(other).values()] == ["cross/dense/kernel", "cross/dense_1/kernel"]
    assert in_model(["m/cross/cross_0/V"]) == {"m/cross/cross_0/V": "cross/cross_0/V"}
    rezero = "m/bottom/rezero_1/sequential_7/dense_1/kernel"
    assert in_model([rezero]) == {rezero: "bottom/rezero_1/sequential/dense_1/kernel"}


@pytest.mark.parametrize("values", [np.arange(-50, 5000), np.array([f"id {i}" for i in range(2000)])])
def test_every_value_finds_its_hashed_row(values):
    few, many = (HashFeature(kind="hash", buckets=buckets) for buckets in (70, 210))
    statistics = Statistics(columns={"id": RawColumn(dtype="int64")})
    found = rows("id", many, statistics, "id", few, statistics)
    assert found.exact
    assert found.old[0] == 0
    before, now = (1 + hash_bucket(values, feature.buckets).numpy() for feature in (few, many))
    np.testing.assert_array_equal(found.old[now], before)


def test_a_value_that_joins_starts_as_the_unknown_one():
    found = rows_of_values(["b", "c", "a"], {"a": 1, "b": 2})
    assert found.old.tolist() == [0, 2, 0, 1]
    assert found.joined.tolist() == [False, False, True, False]
    assert found.exact
    assert not rows_of_values(["a"], {"a": 1, "b": 2}).exact
    spec = VocabularyFeature(kind="vocabulary")
    columns = {"city": RawColumn(dtype="string")}
    had, has = (Statistics(columns=columns, vocabularies={"city": list(v)}) for v in ("ab", "abc"))
    assert rows("city", spec, has, "city", spec, had).note == "1 values join"


def test_a_bucket_takes_the_row_of_its_lower_bound():
    spec = QuantileFeature(kind="quantile", buckets=8)
    had, has = (Statistics(columns={}, boundaries={"x": bounds}) for bounds in ([1.0, 3.0], [0.0, 1.0, 2.0, 3.0]))
    found = rows("x", spec, has, "x", spec, had)
    assert found.old.tolist() == [0, 1, 1, 2, 2, 3]
    assert found.exact
    assert not rows("x", spec, had, "x", spec, has).exact


@pytest.mark.parametrize(
    ("new", "old", "pairs"),
    [
        ([(8, False), (8, True)], [(4, False), (4, True)], [0, 1]),
        ([(8, False), (8, True), (4, False), (4, True)], [(8, False), (4, False)], [0, None, 1, None]),
        ([(8, False)], [(8, False), (8, True)], [0]),
        ([(8, False), (8, False)], [(8, False)], None),
        ([(8, False), (8, True)], [(8, False), (8, False)], None),
        ([], [], []),
    ],
)
def test_layers_are_paired(new, old, pairs):
    assert align(new, old) == pairs


def test_a_new_input_starts_at_zero_and_a_new_output_fresh():
    old, fresh = np.arange(6.0).reshape(3, 2), np.full((3, 3), 9.0)
    places = np.array([2, -1, 0]), np.array([0, 1, -1])
    assert spread(old, fresh, places, True).tolist() == [[4, 5, 9], [0, 0, 9], [0, 1, 9]]
    assert spread(old, fresh, places, False).tolist() == [[4, 5, 9], [9, 9, 9], [0, 1, 9]]
    assert Carry("w", places)(fresh, lambda path: None, True) is fresh


def test_tables_move_inside_their_variables():
    old, fresh = np.arange(10.0).reshape(5, 2), np.full((6, 2), 9.0)
    part = TablePart(2, "t", 1, 3, np.array([0, 2, 0]), np.array([False, False, True]))
    weights = Stack((part,))(fresh, {"t": old}.get, True)
    assert weights[2:5].tolist() == [[2, 3], [6, 7], [2, 3]]
    assert (weights[[0, 1, 5]] == 9).all()
    steps = Stack((part,))(np.full((6, 1), 9.0), {"t": old[:, :1]}.get, False)
    assert steps[2:5, 0].tolist() == [2, 6, 9]  # The optimizer has seen nothing of the value that joins.


def test_a_bias_takes_the_mean_of_what_is_gone():
    kernels = {"a": np.array([[1.0], [2.0], [3.0]]), "b": np.array([[10.0, 20.0]])}
    mean = np.array([1.0, 1.0, 0.5])
    fold = Fold("bias", "x", np.array([0, 2]), ("a", "b"), np.array([1, -1]))
    assert fold(np.zeros(2), mean, kernels.get).tolist() == [50.0, 0.0]
    assert Fold("bias", "x", np.array([0, 2]), ())(np.ones(1), mean, kernels.get).tolist() == [2.5]
