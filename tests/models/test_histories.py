"""Histories in RankingModel: where they enter, what they share, and that a model learns from them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.optimizers import ClippyAdagrad
from tfstable.specs import BinaryTask, HashFeature, NumericFeature, QuantileFeature

LENGTH = 6
FEATURES = {
    "video": HashFeature(kind="hash", buckets=30, dim=8),
    "seen": HashFeature(kind="hash", buckets=30, dim=8, table="video", max_values=LENGTH),
    "gap": QuantileFeature(kind="quantile", dim=2, max_values=LENGTH),
    "age": NumericFeature(kind="numeric"),
}
TASKS = {"click": BinaryTask(kind="binary")}
STATISTICS = Statistics(
    columns={
        "video": RawColumn(dtype="int64"),
        "seen": RawColumn(dtype="int64", width=LENGTH),
        "gap": RawColumn(dtype="float32", width=LENGTH),
        "age": RawColumn(dtype="float32"),
    },
    boundaries={"gap": [1.0, 2.0]},
    moments={"age": (0.0, 1.0)},
    base_rates={"click": 0.5},
)
SEQUENCES = {
    "target": {"features": ("seen", "gap"), "query": ("video",), "units": (16,)},
    "encoder": {"features": ("seen", "gap"), "query": ("video",), "attention": "encoder", "units": (16,), "heads": 2},
    "decoder": {"features": ("seen", "gap"), "query": ("video",), "attention": "decoder", "units": (16,)},
    "mean": {"features": ("seen", "gap"), "attention": "mean"},
}
every_attention = pytest.mark.parametrize("attention", SEQUENCES)


def make(attention=None, **options) -> RankingModel:
    keras.utils.set_random_seed(0)
    sequences = {"watched": SEQUENCES[attention]} if attention else {}
    return RankingModel(FEATURES, TASKS, STATISTICS, **{"units": (32,), "sequences": sequences, **options})


def rows(count: int, seed: int = 0) -> tuple[dict[str, tf.Tensor], np.ndarray]:
    """Inputs, and labels that say whether the candidate is in the history."""
    rng = np.random.default_rng(seed)
    present = np.arange(LENGTH) < rng.integers(0, LENGTH + 1, count)[:, None]
    seen = rng.integers(1, 31, (count, LENGTH))
    video = np.where(
        rng.random(count) < 0.5, seen[np.arange(count), rng.integers(0, LENGTH, count)], seen[:, 0] % 30 + 1
    )
    features = {
        "video": np.int32(video),
        "seen": np.int32(np.where(present, seen, -1)),
        "gap": np.int32(np.where(present, rng.integers(0, 4, (count, LENGTH)), -1)),
        "age": np.float32(rng.normal(size=count)),
    }
    label = ((features["seen"] == video[:, None]).any(axis=1)).astype(np.float32)
    return {name: tf.constant(value) for name, value in features.items()}, label


def auc(model: RankingModel) -> float:
    features, label = rows(2000, seed=1)
    score = model(features, training=False)["click"].numpy()
    order = score[label == 1][:, None] - score[label == 0][None]
    return float((order > 0).mean() + (order == 0).mean() / 2)


@pytest.mark.parametrize(
    "attention",
    ["target", *(pytest.param(layered, marks=pytest.mark.slow) for layered in ("encoder", "decoder"))],
)
def test_a_model_learns_whether_the_candidate_is_in_the_history(attention):
    model = make(attention, input_normalisation="none")
    features, label = rows(4096)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(features, {"click": label}, batch_size=256, epochs=15, verbose=0)
    assert auc(model) > 0.9


def test_without_the_history_there_is_less_to_learn():
    alone = {name: FEATURES[name] for name in ("video", "age")}
    model = RankingModel(alone, TASKS, STATISTICS, units=(32,))
    features, label = rows(4096)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit({name: features[name] for name in alone}, {"click": label}, batch_size=256, epochs=15, verbose=0)
    assert auc(model) < 0.6


@every_attention
def test_features_of_a_history_do_not_also_enter_pooled(attention):
    model, features = make(attention, wide=True), rows(8)[0]
    model.build()
    width = {"target": 10, "encoder": 2 * 18, "decoder": 10, "mean": 10}[attention]
    assert model.embed(features).shape == (8, 8 + 1)  # video and age
    assert model.sequence(features).shape == (8, width)
    assert model.bottom.layers[0].kernel.shape == (9 + width, 32)
    assert list(model.wide.features) == ["video"]
    assert {f.table for f in model.embeddings.features.values()} == {"video", "gap"}


def test_without_sequences_lists_are_pooled_as_before():
    model = make()
    model.build()
    assert model.sequence(rows(8)[0]) is None
    assert model.embed(rows(8)[0]).shape == (8, 8 + 8 + 2 + 1)


@every_attention
def test_the_config_makes_the_same_model(attention):
    model = make(attention, activation="smelu", beta=0.5, dropout=0.1)
    again = RankingModel.from_config(json.loads(json.dumps(model.get_config())))
    model.build()
    again.build()
    assert again.options == model.options
    again.set_weights(model.get_weights())
    features = rows(8)[0]
    np.testing.assert_array_equal(again(features)["click"], model(features)["click"])


@pytest.mark.parametrize(
    ("attention", "policy"),
    [("target", "float32"), ("encoder", "float32"), ("decoder", "mixed_bfloat16"), ("mean", "mixed_bfloat16")],
)
def test_xla_and_clippy_train_it(attention, policy):
    model = make(attention, dtype=keras.DTypePolicy(policy))
    features, label = rows(64)
    model.compile(ClippyAdagrad(0.1), jit_compile=False)
    model.build()
    model.prepare()
    before = [w.numpy() for w in model.trainable_weights]

    @tf.function(jit_compile=True)
    def logits(features):
        return model.logits(features, training=False)["click"]

    tolerance = {"float32": 1e-4, "mixed_bfloat16": 0.1}[policy]
    np.testing.assert_allclose(logits(features), model.logits(features)["click"], rtol=tolerance, atol=tolerance)
    model.fit(features, {"click": label}, batch_size=32, epochs=2, verbose=0)
    inside = [i for i, w in enumerate(model.trainable_weights) if "/histories/" in w.path]
    assert bool(inside) == (attention != "mean")
    assert all(np.isfinite(w).all() for w in model.trainable_weights)
    moved = [(model.trainable_weights[i].numpy() != before[i]).any() for i in inside]
    assert all(moved) or policy != "float32"


def test_empty_histories_leave_no_nan_and_no_gradient():
    model = make("target")
    features, label = rows(16)
    features |= {name: -tf.ones_like(features[name]) for name in ("seen", "gap")}
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y={"click": label}, y_pred=model.logits(features))
    assert not model.sequence(features).numpy().any()
    for w, gradient in zip(
        model.trainable_weights, tape.gradient(loss, [w.value for w in model.trainable_weights]), strict=True
    ):
        dense = tf.convert_to_tensor(gradient)
        assert np.isfinite(dense).all()
        assert not ("/histories/" in w.path and dense.numpy().any())


class TwiceAsMuch(RankingModel):
    def sequence(self, features):
        return 2.0 * super().sequence(features)


def test_a_subclass_replaces_the_stage():
    model = make("mean", input_normalisation="none")
    other = TwiceAsMuch(FEATURES, TASKS, STATISTICS, **model.options.model_dump())
    model.build()
    other.build()
    other.set_weights(model.get_weights())
    features = rows(8)[0]
    np.testing.assert_array_equal(other.sequence(features), 2 * model.sequence(features))
    kernel = other.bottom.layers[0].kernel
    kernel.assign(tf.concat([kernel[:9], kernel[9:] / 2], axis=0))
    np.testing.assert_allclose(other(features)["click"], model(features)["click"], rtol=1e-5)


WRONG = {
    "no such feature": ({"features": ("sen",)}, r"sequences\.watched\.features: there is no feature sen; define it"),
    "a number": ({"features": ("age",)}, r"features: age is numeric, which has no embedding"),
    "no query": ({"query": ()}, r"sequences\.watched: attention: target needs a query"),
    "a query of the mean": ({"attention": "mean"}, "attention: mean takes no query"),
    "softmax elsewhere": (
        {"softmax": True, "attention": "decoder"},
        "softmax is for attention: target, not for decoder",
    ),
    "depth of target": ({"depth": 2}, "depth and heads are for attention: encoder or decoder, not for target"),
    "two widths": ({"attention": "encoder", "units": (8, 8)}, "attention: encoder takes one width"),
    "twice": ({"features": ("seen", "seen")}, "features names a feature twice"),
    "a query in a history": ({"query": ("seen",)}, "query: seen is itself part of a history"),
    "no list": ({"features": ("video",), "query": ("tab",)}, "video reads single values, but must read lists"),
    "a list as a query": ({"query": ("tags",)}, "tags reads lists, but must read single values"),
    "another length": ({"features": ("seen", "short")}, r"short keeps the last 3 values, but seen the last 6; make"),
    "another width": ({"features": ("gap", "seen")}, "video has dim 8, but its counterpart gap 2; make them equal"),
    "no counterpart": ({"query": ("video", "tab", "video2")}, "query: video2 has no counterpart in features"),
    "heads": ({"attention": "decoder", "heads": 3}, r"sequences\.watched\.heads: 3 heads do not divide the width 10"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(name):
    keys, message = WRONG[name]
    features = FEATURES | {
        "tab": HashFeature(kind="hash", column="video", buckets=5, dim=8),
        "video2": HashFeature(kind="hash", column="video", buckets=5, dim=8),
        "tags": HashFeature(kind="hash", column="seen", buckets=5, dim=8, max_values=LENGTH),
        "short": HashFeature(kind="hash", column="seen", buckets=5, dim=8, max_values=3),
    }
    sequences = {"watched": SEQUENCES["target"] | keys}
    with pytest.raises(ValueError, match=message):
        RankingModel(features, TASKS, STATISTICS, sequences=sequences)


def test_a_model_has_an_input_beside_its_histories():
    features = {name: FEATURES[name] for name in ("seen", "gap")}
    with pytest.raises(ValueError, match="every feature is part of a history"):
        RankingModel(features, TASKS, STATISTICS, sequences={"watched": SEQUENCES["mean"]})
