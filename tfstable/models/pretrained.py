"""Puts given vectors into the embedding tables of a model."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from tfstable.errors import InputError
from tfstable.inputs.preprocessor import hash_bucket
from tfstable.inputs.pretrained import digest, read_vectors
from tfstable.inputs.statistics import Statistics, table_name
from tfstable.models.ranking import RankingModel
from tfstable.specs import HashFeature, IdFeature, VocabularyFeature, living


def load_pretrained(model: RankingModel) -> None:
    """Sets the rows of the ids that `pretrained` files have to their vectors; other rows stay as they are.

    Ids that share a hash bucket get the mean of their vectors. Of a vocabulary, ids that it does not hold are passed
    over.

    Args:
        model: The model, built. Its embedding tables lie on the host.

    Raises:
        InputError: If a file is missing or damaged, or does not fit the table.
    """
    files: dict[str, tuple[str, HashFeature | VocabularyFeature]] = {}
    for name, feature in model.feature_specs.items():
        if name in living(model.feature_specs):  # They have no id yet.
            continue
        if isinstance(feature, HashFeature | VocabularyFeature) and feature.pretrained:
            files.setdefault(table_name(name, feature), (name, feature))
    if not files:
        return
    tables = model.embeddings.tables()
    for table, (name, feature) in files.items():
        rows, vectors = _rows(name, feature, model.statistics)
        total = np.zeros_like(tables[table])
        np.add.at(total, rows, vectors)
        counts = np.bincount(rows, minlength=len(total))[:, None]
        tables[table] = np.where(counts, total / np.maximum(counts, 1), tables[table]).astype(np.float32)
    model.embeddings.assign_tables(tables)


def vectors_of(model: RankingModel, table: str, ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns which of some ids the `pretrained` file of a table has, and their vectors.

    Args:
        model: The model.
        table: A table of a feature of `kind: id`, or of a vocabulary that grows.
        ids: Distinct ids, int64 or strings.

    Returns:
        `(known,)` indices into `ids`, and `(known, dim)` floats; empty without such a file.

    Raises:
        InputError: If the file is missing or damaged, or has changed since the run began.
    """
    features = living(model.feature_specs)
    name, feature = next((n, f) for n, f in features.items() if table_name(n, f) == table)
    if not feature.pretrained:
        return np.zeros(0, np.int64), np.zeros((0, feature.dim), np.float32)
    found, vectors = _given(name, feature, model.statistics)
    place = pc.index_in(ids, pa.array(found, ids.type)).fill_null(-1).to_numpy()
    known = np.flatnonzero(place >= 0)
    return known, vectors[place[known]]


def _given(
    name: str, feature: HashFeature | VocabularyFeature | IdFeature, statistics: Statistics
) -> tuple[np.ndarray, np.ndarray]:
    """The ids of a file, and their vectors, `(ids, dim)`."""
    what, path = f"features.{name}.pretrained", Path(feature.pretrained or "")
    found = digest(path, what)
    if feature.pretrained_sha256 not in (None, found):
        raise InputError(f"{what}: {path} has changed since the run began; restore it, or begin a new run")
    return read_vectors(path, feature.dim, statistics.columns[feature.column or name].dtype, what)


def _rows(name: str, feature: HashFeature | VocabularyFeature, statistics: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """The table's rows of a file's ids, `(ids,)`, and their vectors, `(ids, dim)`."""
    dtype = statistics.columns[feature.column or name].dtype
    ids, vectors = _given(name, feature, statistics)
    if isinstance(feature, HashFeature):
        return 1 + hash_bucket(tf.constant(ids, dtype), feature.buckets).numpy(), vectors
    row_of = {value: row for row, value in enumerate(statistics.vocabularies[table_name(name, feature)], start=1)}
    known = np.array([value in row_of for value in ids.tolist()], bool)
    return np.array([row_of[value] for value in ids[known].tolist()], np.int64), vectors[known]
