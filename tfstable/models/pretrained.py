"""Puts given vectors into the embedding tables of a model."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfstable.errors import InputError
from tfstable.inputs.preprocessor import hash_bucket
from tfstable.inputs.pretrained import digest, read_vectors
from tfstable.inputs.statistics import Statistics, table_name
from tfstable.models.ranking import RankingModel
from tfstable.specs import HashFeature, VocabularyFeature


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


def _rows(name: str, feature: HashFeature | VocabularyFeature, statistics: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """The table's rows of a file's ids, `(ids,)`, and their vectors, `(ids, dim)`."""
    what, path = f"features.{name}.pretrained", Path(feature.pretrained or "")
    found = digest(path, what)
    if feature.pretrained_sha256 not in (None, found):
        raise InputError(f"{what}: {path} has changed since the run began; restore it, or begin a new run")
    dtype = statistics.columns[feature.column or name].dtype
    ids, vectors = read_vectors(path, feature.dim, dtype, what)
    if isinstance(feature, HashFeature):
        return 1 + hash_bucket(tf.constant(ids, dtype), feature.buckets).numpy(), vectors
    row_of = {value: row for row, value in enumerate(statistics.vocabularies[table_name(name, feature)], start=1)}
    known = np.array([value in row_of for value in ids.tolist()], bool)
    return np.array([row_of[value] for value in ids[known].tolist()], np.int64), vectors[known]
