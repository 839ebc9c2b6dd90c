import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.optimizers import SGD, Adagrad, Composite, Group, is_embedding_table


def named(name, shape=(2,), table=None):
    variable = keras.Variable(np.ones(shape), dtype="float32", name=name)
    if table is not None:
        variable.is_embedding_table = table
    return variable


def test_a_table_is_known_by_its_attribute_else_by_keras_name():
    assert is_embedding_table(named("ids", table=True))
    assert is_embedding_table(named("embeddings"))
    assert not is_embedding_table(named("embeddings", table=False))
    assert not is_embedding_table(named("kernel"))
    assert is_embedding_table(tf.Variable(1.0, name="embedding/embeddings"))
    layer = keras.layers.Embedding(3, 2)
    layer.build()
    assert is_embedding_table(layer.embeddings)


def test_each_group_has_its_own_rule_rate_and_schedule():
    table, tower, head = named("ids", (3, 2), table=True), named("tower_kernel"), named("head_kernel")
    warm_up = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.0, 0.5])
    optimizer = Composite(
        [Group("embeddings", SGD(0.25)), Group("^tower", SGD(warm_up)), Group("head", SGD(1.0, weight_decay=0.5))]
    )
    variables = [head, table, tower]  # any order
    optimizer.build(variables)
    rows = tf.IndexedSlices(tf.ones((2, 2)), tf.constant([2, 2]))
    for _ in range(2):
        optimizer.apply([tf.zeros(2), rows, tf.ones(2)], variables)
    assert table.numpy().tolist() == [[1, 1], [1, 1], [0, 0]]  # 1 - 2 steps * 0.25 * (1 + 1)
    assert tower.numpy().tolist() == [0.5, 0.5]  # 1 - 0 * 1 - 0.5 * 1
    assert head.numpy().tolist() == [0.25, 0.25]  # 1 * (1 - 1 * 0.5)^2: decay alone
    assert [int(o.iterations.numpy()) for o in optimizer.optimizers] == [2, 2, 2]


def test_a_part_of_the_variables_may_be_applied():
    table, kernel = named("ids", (3, 2), table=True), named("kernel")
    optimizer = Composite([Group("embeddings", SGD(0.5)), Group("dense", SGD(0.5))])
    optimizer.build([table, kernel])
    with pytest.warns(UserWarning, match="No gradient for \\['ids'\\]"):
        optimizer.apply([None, tf.ones(2)], [table, kernel])
    assert kernel.numpy().tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="no gradient for any variable: \\['ids', 'kernel'\\]"):
        optimizer.apply([None, None], [table, kernel])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["embeddings", "tower"], "'head_bias' must be in exactly one group; it is in none"),
        (
            ["dense", "tower", "embeddings"],
            r"'tower_kernel' must be in exactly one.* is in \['dense', 'tower'\]",
        ),
        (["dense", "embeddings", "towre"], "group 'towre' must match a variable; it matches none"),
    ],
)
def test_every_variable_is_in_exactly_one_group(groups, message):
    optimizer = Composite([Group(g, SGD(0.1)) for g in groups])
    with pytest.raises(ValueError, match=message):
        optimizer.build([named("ids", table=True), named("tower_kernel"), named("head_bias")])


def test_a_model_without_tables_may_keep_the_group_of_tables():
    optimizer = Composite([Group("embeddings", SGD(0.5)), Group("dense", SGD(0.5))])
    kernel = named("kernel")
    optimizer.apply([tf.ones(2)], [kernel])
    assert kernel.numpy().tolist() == [0.5, 0.5]


def test_bad_groups_are_refused():
    shared = SGD(0.1)
    with pytest.raises(ValueError, match="must not share an optimizer"):
        Composite([Group("embeddings", shared), Group("dense", shared)])
    with pytest.raises(ValueError, match="groups must be one or more Group; got \\[\\]"):
        Composite([])
    with pytest.raises(ValueError, match=r"variables must be .* a regular expression .* got '\('"):
        Group("(", SGD(0.1))
    with pytest.raises(ValueError, match="optimizer must be one of tfstable"):
        Group("dense", keras.optimizers.SGD(0.1))


def test_its_learning_rate_is_read_from_the_first_group_and_set_on_a_group():
    optimizer = Composite([Group("embeddings", Adagrad(0.25)), Group("dense", SGD(0.5))])
    assert float(optimizer.learning_rate) == 0.25
    with pytest.raises(AttributeError, match=r"composite\.optimizers\[i\]"):
        optimizer.learning_rate = 1.0
    optimizer.optimizers[1].learning_rate = 0.125
    kernel = named("kernel")
    optimizer.apply([tf.ones(2)], [kernel])
    assert kernel.numpy().tolist() == [0.875, 0.875]
