"""`rank` is `serving_default` with the user's row repeated, in another order and with less work."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.mmoe import MMoE
from tfstable.data.columns import RawColumn
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.serving.rank import Rank
from tfstable.serving.shared_user import SharedUser, fits
from tfstable.specs import (
    BinaryTask,
    HashFeature,
    NumericFeature,
    QuantileFeature,
    RegressionTask,
    VectorFeature,
    VocabularyFeature,
)

FEATURES = {
    "video": HashFeature(kind="hash", buckets=50, dim=4),
    "user": HashFeature(kind="hash", buckets=50, dim=4),
    "duration": NumericFeature(kind="numeric", log1p=True),
    "tags": VocabularyFeature(kind="vocabulary", max_values=2, dim=4),
    "age": NumericFeature(kind="numeric"),
    "seen": HashFeature(kind="hash", buckets=50, dim=4, table="video", max_values=3),
    "age_q": QuantileFeature(kind="quantile", column="age", dim=3),
    "city": VocabularyFeature(kind="vocabulary", dim=3, rate=0.5),  # In a variable of its own.
    "user_video": HashFeature(kind="hash", columns=["user", "video"], buckets=90, dim=4),
    "cover": VectorFeature(kind="vector", width=3, projection=2, normalise="l2"),
    "taste": VectorFeature(kind="vector", width=2),
}
TASKS = {
    "click": BinaryTask(kind="binary"),
    "time": RegressionTask(kind="regression", transform="log1p"),
    "like": BinaryTask(kind="binary"),
}
STATISTICS = Statistics(
    columns={
        "video": RawColumn(dtype="int64"),
        "user": RawColumn(dtype="int64"),
        "duration": RawColumn(dtype="float32"),
        "tags": RawColumn(dtype="string", width=2),
        "age": RawColumn(dtype="float32"),
        "seen": RawColumn(dtype="int64", width=3),
        "city": RawColumn(dtype="string"),
        "cover": RawColumn(dtype="float32", width=3, vector=True),
        "taste": RawColumn(dtype="float32", width=2, vector=True),
    },
    vocabularies={"tags": ["a", "b", "c"], "city": ["Oslo", "Rome"]},
    boundaries={"age_q": [30.0, 50.0]},
    moments={"duration": (3.0, 1.0), "age": (40.0, 10.0)},
    base_rates={"click": 0.3, "time": 2.0, "like": 0.01},
)
USER = ("user", "age", "seen", "city", "taste")
WEIGHTS = {"click": 1.0, "like": 3.0}
PREPROCESSOR = Preprocessor(FEATURES, STATISTICS)
N = 7


def request(n: int = N) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(1)
    return {
        "user": tf.constant([3], tf.int64),
        "age": tf.constant([35.0]),
        "seen": tf.constant([[5, 9, -(2**63)]], tf.int64),
        "city": tf.constant(["Rome"]),
        "video": tf.constant(rng.integers(0, 50, n)),
        "duration": tf.constant(rng.exponential(30, n), tf.float32),
        "tags": tf.constant(rng.choice(["a", "b", "", "new"], [n, 2])),
        "cover": tf.constant(np.where(rng.random((n, 1)) < 0.3, np.nan, rng.normal(size=(n, 3))), tf.float32),
        "taste": tf.constant([[0.5, -1.5]]),
    }


def repeated(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    n = raw["video"].shape[0]
    return {name: tf.repeat(value, n, axis=0) if name in USER else value for name, value in raw.items()}


def make(model_class=RankingModel, **arguments) -> RankingModel:
    """A model with weights of any size everywhere, as after training: zeros would hide a wrong place."""
    model = model_class(FEATURES, TASKS, STATISTICS, **{"units": (16, 8), **arguments})
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.3 if "gamma" in variable.path else 0.0, 0.3, variable.shape))
    return model


def as_served(model: RankingModel) -> tf.function:
    rank = Rank(model, PREPROCESSOR, USER, WEIGHTS)
    return tf.function(rank, input_signature=[rank.signature()])


class OtherEmbedding(RankingModel):
    def embed(self, features):
        return 2.0 * super().embed(features)


APART = {
    "recipe": {"activation": "smelu", "tower_units": (8,), "wide": True},
    "plain": {"input_normalisation": "none"},
    "normalised": {"hidden_normalisation": True, "tower_units": (8, 4), "dropout": 0.5},
    "rezero": {"units": (16, 16), "rezero": True, "tower_units": (8,), "activation_clip": 1.0},
    "one layer": {"units": (16,), "wide": True},
    "layer": {"input_normalisation": "layer", "wide": True},
    "layer after a cross": {"cross_depth": 1, "input_normalisation": "layer"},
    "cross": {"cross_depth": 2, "tower_units": (8,)},
    "cross of low rank": {"cross_depth": 2, "cross_rank": 3, "input_normalisation": "none", "wide": True},
    "cross alone": {"cross_depth": 1, "units": ()},
    "mmoe on a bottom": {"bottom": {"kind": "mmoe"}, "input_normalisation": "layer", "tower_units": (8,)},
    "mmoe": {"bottom": {"kind": "mmoe", "units": (8, 8)}, "units": (), "rezero": True, "wide": True},
    "ple": {"bottom": {"kind": "ple", "levels": 2}, "units": (), "input_normalisation": "layer"},
    "ple after a cross": {"bottom": {"kind": "ple"}, "units": (), "cross_depth": 1},
    "target": {"sequences": {"seen": {"features": ["seen"], "query": ["video"]}}, "wide": True, "activation": "smelu"},
    "target of softmax": {
        "sequences": {"seen": {"features": ["seen"], "query": ["video"], "softmax": True, "units": (6, 5)}},
        "input_normalisation": "layer",
    },
    "encoder": {"sequences": {"seen": {"features": ["seen"], "query": ["user", "video"], "attention": "encoder"}}},
    "decoder": {
        "sequences": {"seen": {"features": ["seen"], "query": ["video", "user"], "attention": "decoder", "heads": 2}},
        "cross_depth": 1,
    },
    "mean": {"sequences": {"seen": {"features": ["seen"], "attention": "mean"}}, "input_normalisation": "none"},
    "the user's own query": {"sequences": {"seen": {"features": ["seen"], "query": ["user"]}}, "cross_depth": 1},
}
WHOLE = {
    "experts": {"cross_depth": 1, "cross_rank": 3, "cross_experts": 2},
    "parallel": {"cross_depth": 1, "cross_arrangement": "parallel", "wide": True},
    "no bottom": {"units": ()},
    "a subclass": {"model_class": MMoE, "expert_units": (8,)},
    "another stage": {"model_class": OtherEmbedding},
    "a history of the candidate": {"sequences": {"tags": {"features": ["tags"], "attention": "mean"}}},
}


@pytest.mark.parametrize("name", [*APART, *WHOLE])
def test_rank_scores_as_the_model_does_row_by_row(name):
    model = make(**{**APART, **WHOLE}[name])
    assert fits(model, USER) == (name in APART)
    raw = request()
    expected = {k: v.numpy() for k, v in model(PREPROCESSOR(repeated(raw)), training=False).items()}
    got = {k: v.numpy() for k, v in as_served(model)(raw).items()}
    order = got["order"]
    assert sorted(order) == list(range(N))
    for task in TASKS:
        np.testing.assert_allclose(got[task], expected[task][order], rtol=2e-5, atol=1e-6)
    score = expected["click"] + 3.0 * expected["like"]
    np.testing.assert_allclose(got["score"], np.sort(score)[::-1], rtol=2e-5)
    assert np.ptp(score) > 1e-3  # The candidates differ, so an order means something.


def test_large_inputs_lose_no_digits_to_the_other_order_of_the_sums():
    # Numbers of 1e4 beside embeddings of 0.3: E[x^2] - E[x]^2 would keep three digits of the variance.
    model = make(activation="smelu", input_normalisation="layer")
    raw = request() | {"age": tf.constant([1e5])}
    double = {name: value.numpy().astype(np.float64) for name, value in PREPROCESSOR(repeated(raw)).items()}
    x = np.concatenate(
        [
            *(v.numpy() for v in model.embeddings(double).values()),
            np.stack([double["duration"], double["age"]], axis=1),
            model.vector_inputs["cover"](double["cover"]),
            double["taste"],
        ],
        axis=1,
    )
    norm, first = model.input_norm, model.bottom.layers[0]
    centred = x - x.mean(axis=1, keepdims=True)
    normal = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + norm.epsilon)
    expected = (normal * norm.gamma.numpy() + norm.beta.numpy()) @ first.kernel.numpy() + first.bias.numpy()
    shared = SharedUser(model, {"user", "age", "age_q", "seen", "city", "taste"})
    features = PREPROCESSOR(raw)
    got = shared._first_layer(*(shared._vector(part, features) for part in shared._parts))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_equal_scores_keep_the_order_of_the_request():
    raw = {n: v if n in USER else tf.repeat(v[:1], 5, axis=0) for n, v in request().items()}
    assert as_served(make())(raw)["order"].numpy().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("arguments", [APART["recipe"], APART["cross"], WHOLE["a subclass"], APART["mmoe"]])
def test_no_candidate_is_no_error(arguments):
    raw = {n: v if n in USER else v[:0] for n, v in request().items()}
    got = as_served(make(**arguments))(raw)
    assert {name: value.shape for name, value in got.items()} == dict.fromkeys((*TASKS, "score", "order"), (0,))


def test_mixed_precision_is_served_as_it_predicts():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make()
    finally:
        keras.config.set_dtype_policy(before)
    assert not fits(model, USER)  # Another order of the sums would be another rounding, of two digits.
    raw = request()
    got, expected = as_served(model)(raw), model(PREPROCESSOR(repeated(raw)), training=False)
    np.testing.assert_allclose(got["click"], tf.gather(expected["click"], got["order"]), rtol=1e-2)


def test_the_user_passes_the_first_layer_once():
    def operations(function, raw):
        specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in raw.items()}
        graph = tf.function(function).get_concrete_function(specs).graph
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation() | {"output": "none"}
        return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops

    model, raw, n = make(**APART["recipe"] | {"units": (256, 8)}), request(1000), 1000
    rank = Rank(model, PREPROCESSOR, USER, WEIGHTS)
    saved = operations(lambda r: model(PREPROCESSOR(r), training=False), repeated(raw)) - operations(rank, raw)
    # Of the 24 inputs the user brings 4 + 1 + 3 + 4 + 3. Centring the candidates' takes some of it back.
    assert saved > 0.85 * 2 * 15 * 256 * n
