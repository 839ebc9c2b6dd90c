"""Integrated gradients against NumPy and completeness; permutation importance against its definition."""

from math import erf

import numpy as np
import pytest
import tensorflow as tf

from tests.analysis import reference
from tests.models import test_histories as histories
from tests.models import test_products as products
from tests.models.cases import INPUTS, build, inputs
from tfstable.analysis.integrated_gradients import Embedded, IntegratedGradients, completeness
from tfstable.analysis.permutation import Loss, permutation_importance
from tfstable.errors import InputError
from tfstable.models import Committee, RankingModel

PARTS = ["user", "tags", "age_q", "age", "hour"]  # As they stand in the input vector.


def mean_of(gradients: IntegratedGradients, features) -> Embedded:
    return Embedded(*(tf.reduce_mean(each, axis=0, keepdims=True) for each in gradients.embedded(features)))


def test_shares_are_the_sums_of_the_formula():
    model = build(units=(8,), activation="gelu", randomise=True)
    gradients = IntegratedGradients(model, points=7)
    start = mean_of(gradients, inputs())
    found = gradients(inputs(), start)
    W, b = (v.numpy() for v in model.bottom.layers[0].weights)
    w, _ = (v.numpy() for v in model.outputs_of["like"].weights)

    def gradient(x):  # Of w . gelu(x W + b), gelu(h) = h P(z <= h), z standard normal.
        h = x @ W.astype(float) + b
        below = np.array([(1 + erf(each / np.sqrt(2))) / 2 for each in h])
        return W @ (w[:, 0] * (below + h * np.exp(-(h**2) / 2) / np.sqrt(2 * np.pi)))

    x, x0 = gradients.embedded(inputs()).x.numpy().astype(float), start.x.numpy()[0].astype(float)
    expected = np.array([reference.integrated_gradients(gradient, row, x0, 7) for row in x])
    ends = np.cumsum([4, 4, 3, 1, 1])[:-1]
    expected = np.stack([part.sum(axis=1) for part in np.split(expected, ends, axis=1)], axis=1)
    assert gradients.parts == PARTS
    np.testing.assert_allclose(found.shares["like"], expected, rtol=1e-4, atol=1e-5)
    assert len(set(found.starts["like"].numpy().round(5))) == 1


def test_of_a_linear_model_one_point_is_exact():
    model = build(units=(), wide=True, randomise=True)
    for start in (None, mean_of(IntegratedGradients(model), inputs())):
        found = IntegratedGradients(model, points=1)(inputs(), start)
        assert max(completeness(*found).values()) < 1e-5
    w = model.outputs_of["click"].weights[0].numpy()[-1, 0]
    from_zeros = IntegratedGradients(model, points=1)(inputs())
    np.testing.assert_allclose(from_zeros.shares["click"][:, 4], w * INPUTS["hour"], rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "smelu", "cross_depth": 1, "input_normalisation": "layer", "wide": True, "tower_units": (4,)},
        pytest.param(
            {"activation": "smelu", "model_class": Committee, "members": 2, "rezero": True}, marks=pytest.mark.slow
        ),
    ],
)
def test_shares_add_up_with_64_points_from_the_mean(options):
    model = build(**{"units": (8, 8), "randomise": True, **options})
    gradients = IntegratedGradients(model)
    before = model(inputs(), training=False)["click"].numpy()
    found = tf.function(lambda x: gradients(x, mean_of(gradients, x)), autograph=False)(inputs())
    assert set(found.shares) == {"click", "like", "time"}
    assert max(completeness(*found).values()) < 1e-3
    np.testing.assert_allclose(tf.sigmoid(found.logits["click"]), before, rtol=1e-5)
    np.testing.assert_array_equal(model(inputs(), training=False)["click"], before)  # Its stages are its own again.


def test_a_history_is_a_part_and_a_product_a_task():
    model = histories.make("target", activation="smelu")
    features, _ = histories.rows(20)
    gradients = IntegratedGradients(model)
    assert gradients.parts == ["video", "age", "sequences/watched"]
    found = tf.function(lambda x: gradients(x, mean_of(gradients, x)), autograph=False)(features)
    assert max(completeness(*found).values()) < 1e-3
    assert (np.abs(found.shares["click"]).max(axis=0) > 0).all()
    found = tf.function(IntegratedGradients(products.make(activation="smelu")), autograph=False)(inputs())
    assert set(found.shares) == {"click", "after", "buy"}
    assert max(completeness(*found).values()) < 1e-3


def test_a_model_with_an_embed_of_its_own_is_refused():
    class Twice(RankingModel):
        def embed(self, features, training=None):
            return tf.repeat(super().embed(features), 2, axis=1)

    with pytest.raises(InputError, match=r"Twice\.embed returns a vector of width 26, but its features have 13"):
        IntegratedGradients(build(Twice))(inputs())
    with pytest.raises(ValueError, match="points must be at least 1, got 0"):
        IntegratedGradients(build(), points=0)


def test_permutation_importance_is_its_definition():
    rng = np.random.default_rng(0)
    n = 300
    x = {"a": rng.normal(size=n), "b": rng.normal(size=(n, 2)), "noise": rng.normal(size=n)}
    y = x["a"] + x["b"].sum(axis=1)

    def predict(x):
        return {"sum": x["a"] + x["b"].sum(axis=1), "a": x["a"]}

    def loss(before, after):
        errors = np.square(after - y) - np.square(before - y)
        return errors.mean(), errors.std() / np.sqrt(n)

    groups = {"a": ["a"], "b": ["b"], "both": ["a", "b"], "noise": ["noise"]}
    losses = {"sum": loss, "a": loss}
    found = permutation_importance(predict, x, groups, losses, repeats=2, seed=4)
    again = np.random.default_rng(4)
    for group, features in groups.items():
        orders = [again.permutation(n) for _ in range(2)]
        for task in losses:
            drawn = [loss(predict(x)[task], predict(x | {f: x[f][o] for f in features})[task]) for o in orders]
            assert found[group][task].loss == pytest.approx(np.mean([d[0] for d in drawn]))
            assert found[group][task].se == pytest.approx(np.sqrt(np.mean([d[1] ** 2 for d in drawn])))
    # Together a and b vary as the sum does, 2 x 3; one alone 2 x its variance; what a task does not read costs nothing.
    assert found["both"]["sum"].loss == pytest.approx(6, rel=0.2)
    assert found["b"]["sum"].loss == pytest.approx(4, rel=0.2)
    assert found["noise"]["sum"] == found["b"]["a"] == Loss(0, 0)
    assert found["a"]["sum"].interval[0] > 0
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        permutation_importance(predict, x, groups, losses, repeats=0)
