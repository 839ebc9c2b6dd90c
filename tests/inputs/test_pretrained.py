"""`pretrained: FILE`: which rows of a table start from which vectors, and what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.errors import InputError
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.pretrained import digest
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.models.pretrained import load_pretrained
from tfstable.specs import BinaryTask, HashFeature, VocabularyFeature

IDS = np.array([5, 70, 2**40], np.int64)
VECTORS = np.arange(6, dtype=np.float64).reshape(3, 2) / 10


def write_parquet(path: Path, ids=IDS, vectors=VECTORS, dtype=None) -> str:
    pq.write_table(pa.table({"id": pa.array(ids), "vector": pa.array(list(map(list, vectors)), dtype)}), path)
    return str(path)


def write_npz(path: Path, ids=IDS, vectors=VECTORS) -> str:
    np.savez(path, id=ids, vector=vectors)
    return str(path)


def make(features: dict, vocabularies=None, dtype="int64") -> RankingModel:
    columns = {feature.column or name: RawColumn(dtype=dtype) for name, feature in features.items()}
    statistics = Statistics(columns=columns, vocabularies=vocabularies or {}, base_rates={"click": 0.5})
    tf.keras.utils.set_random_seed(0)
    model = RankingModel(features, {"click": BinaryTask(kind="binary")}, statistics, units=(4,), wide=True)
    model.build()
    return model


FILES = {
    "parquet": lambda path: write_parquet(path / "v.parquet"),
    "fixed size": lambda path: write_parquet(path / "v.parquet", dtype=pa.list_(pa.float32(), 2)),
    "npz": lambda path: write_npz(path / "v.npz"),
    "int32 ids": lambda path: write_npz(path / "v.npz", ids=np.int32([5, 70, 3])),
}


@pytest.mark.parametrize("kind", FILES)
def test_ids_of_the_file_start_from_their_vectors_and_others_as_usual(tmp_path, kind):
    features = {"x": HashFeature(kind="hash", buckets=1000, dim=2, pretrained=FILES[kind](tmp_path))}
    model = make(features)
    before = model.embeddings.tables()["x"]
    load_pretrained(model)
    after = model.embeddings.tables()["x"]
    ids = IDS if kind != "int32 ids" else np.int64([5, 70, 3])
    rows = Preprocessor(features, model.statistics)({"x": tf.constant(ids)})["x"].numpy()
    np.testing.assert_array_equal(after[rows], VECTORS.astype(np.float32))
    others = np.setdiff1d(np.arange(1001), rows)
    np.testing.assert_array_equal(after[others], before[others])
    assert before[others].std() > 0


def test_ids_of_one_bucket_get_their_mean(tmp_path):
    model = make({"x": HashFeature(kind="hash", buckets=1, dim=2, pretrained=write_npz(tmp_path / "v.npz"))})
    load_pretrained(model)
    np.testing.assert_allclose(model.embeddings.tables()["x"][1], VECTORS.mean(axis=0), rtol=1e-6)


def test_a_vocabulary_of_text_takes_what_it_knows(tmp_path):
    path = write_parquet(tmp_path / "v.parquet", ids=["a", "ü", "new"])
    model = make({"x": VocabularyFeature(kind="vocabulary", dim=2, pretrained=path)}, {"x": ["ü", "b", "a"]}, "string")
    before = model.embeddings.tables()["x"]
    load_pretrained(model)
    after = model.embeddings.tables()["x"]
    np.testing.assert_array_equal(after[[3, 1]], VECTORS[:2].astype(np.float32))
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])


def test_a_file_that_changed_since_is_refused(tmp_path):
    path = write_npz(tmp_path / "v.npz")
    feature = HashFeature(kind="hash", buckets=9, dim=2, pretrained=path, pretrained_sha256=digest(Path(path), "x"))
    model = make({"x": feature})
    load_pretrained(model)
    write_npz(Path(path), vectors=VECTORS + 1)
    with pytest.raises(InputError, match=r"features\.x\.pretrained: .*v\.npz has changed since the run began"):
        load_pretrained(model)


BAD = {
    "width": (lambda p: write_npz(p, vectors=np.ones((3, 4))), "vectors of width 4, the table's dim is 2; set dim: 4"),
    "rows": (lambda p: write_npz(p, vectors=np.ones((2, 2))), "has a vector of shape"),
    "text": (lambda p: write_npz(p, ids=np.array(["a", "b", "c"])), "has ids that are text, the column has integers"),
    "twice": (lambda p: write_npz(p, ids=np.int64([1, 2, 1])), "has id 1 more than once"),
    "nan": (lambda p: write_npz(p, vectors=[[0, 1], [2, np.nan], [0, 0]]), "the vector of id 70 is not finite"),
    "names": (lambda p: np.savez(p, key=IDS), "cannot be read .*; write Parquet or .npz with id and vector"),
    "damaged": (lambda p: p.write_bytes(b"PK\x03\x04"), "cannot be read .*; write Parquet or .npz"),
    "objects": (lambda p: write_npz(p, ids=np.array([1, "a", None], object)), "cannot be read .*pickle"),
    "missing": (lambda p: None, "cannot be read .No such file or directory.; name a Parquet or .npz file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, case):
    write, said = BAD[case]
    path = tmp_path / "v.npz"
    write(path)
    model = make({"x": HashFeature(kind="hash", buckets=9, dim=2, pretrained=str(path))})
    with pytest.raises(InputError, match=rf"features\.x\.pretrained: .*v\.npz.*{said}"):
        load_pretrained(model)


BAD_PARQUET = {
    "widths": ([[1.0], [1.0, 2.0], [3.0]], "vectors have several widths"),
    "numbers": ([1.0, 2.0, 3.0], "column vector has type double, expected lists of floats"),
    "null": ([[1.0, 2.0], None, [3.0, 4.0]], "vectors have several widths, or some are null"),
}


@pytest.mark.parametrize("case", BAD_PARQUET)
def test_a_parquet_file_of_other_vectors_is_one_line(tmp_path, case):
    vectors, said = BAD_PARQUET[case]
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"id": IDS, "vector": vectors}), path)
    model = make({"x": HashFeature(kind="hash", buckets=9, dim=2, pretrained=str(path))})
    with pytest.raises(InputError, match=said):
        load_pretrained(model)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"trainable": False}, "trainable: false leaves the table as it starts; name its file: pretrained"),
        ({"trainable": False, "pretrained": "x", "rate": 0.5}, "trainable: false has no use for a rate"),
        ({"columns": ["a", "b"], "pretrained": "x"}, "columns takes no pretrained"),
        ({"rate": 0}, "greater than 0"),
    ],
)
def test_keys_that_do_not_go_together(arguments, said):
    with pytest.raises(ValueError, match=said):
        HashFeature(kind="hash", buckets=9, **arguments)
