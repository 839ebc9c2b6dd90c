"""`serve_examples`: rows as serialized tf.Example protos; an absent column counts as missing."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfstable.data.columns import MISSING, RawColumn
from tfstable.specs import MISSING_INT


def parse(examples: tf.Tensor, columns: dict[str, RawColumn]) -> dict[str, tf.Tensor]:
    """Parses serialized tf.Examples into raw columns, as `serving_default` takes them.

    Args:
        examples: `(batch,)` strings. Integers are in int64_list, floats in float_list, text in bytes_list.
        columns: The raw columns by name.

    Raises:
        tf.errors.InvalidArgumentError: When run, if a string is not a tf.Example or a column has another type or
            length.
    """
    features = {}
    for name, column in columns.items():
        dtype = tf.dtypes.as_dtype(column.dtype)
        missing = tf.constant(MISSING[column.dtype], dtype)
        if column.width is None:
            features[name] = tf.io.FixedLenFeature([], dtype, missing)
        elif column.vector:
            features[name] = tf.io.FixedLenFeature([column.width], dtype, tf.fill([column.width], missing))
        else:
            features[name] = tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True, default_value=missing)
    return tf.io.parse_example(examples, features)


def serialize(raw: Mapping[str, np.ndarray]) -> list[bytes]:
    """Serializes rows of raw columns as tf.Examples; a column without a known value in a row is left out.

    Among other values of a list a missing one is written as it is (NaN, the smallest int64, ""): it keeps its place.
    """
    examples = []
    for i in range(len(next(iter(raw.values())))):
        features = {name: _feature(np.atleast_1d(column[i])) for name, column in raw.items()}
        present = {name: feature for name, feature in features.items() if feature is not None}
        examples.append(tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString())
    return examples


def _feature(values: np.ndarray) -> tf.train.Feature | None:
    if values.dtype.kind == "f":
        known = ~np.isnan(values)
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    elif values.dtype.kind == "i":
        known = values != MISSING_INT
        feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    else:
        known = values != ""
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode() for text in values]))
    return feature if known.any() else None
