"""Look-ups of ids: exact for every key, in training and from a SavedModel that holds no ids in its graph."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tfstable.inputs.id_table import IdTable
from tfstable.inputs.ids import IdMap
from tfstable.specs import MISSING_INT


def table_of(ids: list) -> IdTable:
    rows = pa.array(np.arange(1, len(ids) + 1, dtype=np.int32))
    return IdTable(IdMap(pa.table({"id": pa.array(ids), "row": rows})))


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
@pytest.mark.parametrize("text", [False, True])
def test_known_ids_have_their_rows_and_others_row_0(count, text):
    values = np.random.default_rng(count).permutation(np.arange(-count, count))[:count].tolist()
    ids = [f"id {value}" for value in values] if text else values
    table = table_of(ids) if count else IdTable(IdMap.none("string" if text else "int64"))
    dtype = tf.string if text else tf.int64
    unknown = ["id", "-", "", "\x00tfstable\x00"] if text else [10**6, 2**63 - 1, MISSING_INT, MISSING_INT + 1]
    x = tf.reshape(tf.constant([*ids, *unknown] * 2, dtype), [2, -1])
    assert table(x).numpy().tolist() == [[*range(1, count + 1), 0, 0, 0, 0]] * 2


def test_keys_that_the_table_uses_itself_are_like_any_other_unknown_id():
    table = table_of([0, 1, -(2**63) + 2])
    assert table(tf.constant([MISSING_INT, MISSING_INT + 1, 0, -(2**63) + 2], tf.int64)).numpy().tolist() == [
        0,
        0,
        1,
        3,
    ]


def test_a_saved_model_keeps_the_ids_outside_its_graph(tmp_path):
    ids = [f"some quite long id {n}" for n in range(20_000)]
    module = tf.Module()
    module.table = table_of(ids)
    find = tf.function(lambda x: {"row": module.table(x)}, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=find.get_concrete_function())
    assert (tmp_path / "saved" / "saved_model.pb").stat().st_size < 100_000
    loaded = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    asked = tf.constant([ids[7], "another", ids[19_999]])
    assert loaded(asked)["row"].numpy().tolist() == [8, 0, 20_000]
