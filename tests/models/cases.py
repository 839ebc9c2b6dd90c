"""Six examples of three tasks, and the models that the tests build for them."""

import keras
import numpy as np
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.specs import (
    BinaryTask,
    HashFeature,
    NumericFeature,
    QuantileFeature,
    RegressionTask,
    VocabularyFeature,
)

FEATURES = {
    "user": HashFeature(kind="hash", buckets=10, dim=4),
    "tags": VocabularyFeature(kind="vocabulary", max_values=2, dim=4),
    "age": NumericFeature(kind="numeric"),
    "age_q": QuantileFeature(kind="quantile", dim=3),
    "hour": NumericFeature(kind="numeric"),
}
TASKS = {
    "click": BinaryTask(kind="binary"),
    "like": BinaryTask(kind="binary", weight=10.0),
    "time": RegressionTask(kind="regression", label="seconds", transform="log1p"),
}
STATISTICS = Statistics(
    columns={
        "user": RawColumn(dtype="int64"),
        "tags": RawColumn(dtype="string", width=2),
        "age": RawColumn(dtype="float32"),
        "age_q": RawColumn(dtype="float32"),
        "hour": RawColumn(dtype="float32"),
    },
    vocabularies={"tags": ["a", "b", "c"]},
    boundaries={"age_q": [30.0, 50.0]},
    moments={"age": (40.0, 10.0), "hour": (12.0, 6.0)},
    base_rates={"click": 0.3, "like": 0.01, "time": 2.0},
)
ROWS = 6
INPUTS = {
    "user": np.int32([0, 10, 3, 3, 5, 1]),
    "tags": np.int32([[1, 3], [2, -1], [-1, -1], [0, 0], [3, 2], [1, -1]]),
    "age": np.float32([0, 1, -1, 2, 0.5, 0]),
    "age_q": np.int32([1, 2, 0, 3, 2, 1]),
    "hour": np.float32([1, -1, 0, 0.5, 0, 2]),
}
NAN = np.float32("nan")
LABELS = {
    "click": np.float32([1, 0, NAN, 1, 0, 0]),
    "like": np.float32([NAN, NAN, NAN, 1, 0, NAN]),
    "time": np.float32([3, NAN, 10, 0, NAN, 1]),
}
WEIGHTS = np.float32([1, 2, 1, 0.5, 0, 1])


def build(model_class=RankingModel, randomise: bool = False, **keys) -> RankingModel:
    """A model; with random weights everywhere if asked to, so that no part of it is the identity or zero."""
    keras.utils.set_random_seed(0)
    model = model_class(FEATURES, TASKS, STATISTICS, **{"units": (8, 8), **keys})
    if randomise:
        model.build()
        rng = np.random.default_rng(1)
        for variable in model.variables:
            variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


def inputs() -> dict[str, tf.Tensor]:
    return {name: tf.constant(value) for name, value in INPUTS.items()}
