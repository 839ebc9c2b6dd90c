"""Committee: what its logits are made of, and that it is a RankingModel like any other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.cases import FEATURES, STATISTICS, TASKS, build, inputs
from tfstable.models import Committee, RankingModel


def test_a_committee_of_one_is_the_ranking_model():
    one, alone = build(Committee, members=1, tower_units=(4,)), build(RankingModel, tower_units=(4,))
    one.build()
    alone.build()
    assert [v.shape for v in one.variables] == [v.shape for v in alone.variables]
    for variable, value in zip(one.variables, alone.variables, strict=True):
        variable.assign(value)
    for task, logits in one.logits(inputs()).items():
        np.testing.assert_allclose(logits, alone.logits(inputs())[task], rtol=1e-6)


@pytest.mark.parametrize("parallel", [False, True])
def test_logits_are_the_mean_over_members_that_differ(parallel):
    cross = {"cross_depth": 1, "cross_arrangement": "parallel"} if parallel else {}
    model = build(Committee, randomise=True, members=3, tower_units=(4,), wide=True, **cross)
    together = model.logits(inputs())
    x = model.embed(inputs())
    crossed = model.interact(x)
    members = []
    for m in range(3):
        deep = model.bottoms[m](x if parallel else crossed)
        shared = tf.concat([deep, crossed], axis=1) if parallel else deep
        members.append(model.outputs_by_member["click"][m](model.towers_of["click"][m](shared))[:, 0])
    assert np.std(members, axis=0).min() > 1e-3
    expected = np.mean(members, axis=0) + model.wide_logits(inputs())["click"]
    np.testing.assert_allclose(together["click"], expected, rtol=1e-5, atol=1e-6)


def test_it_comes_back_from_a_file(tmp_path):
    model = build(Committee, randomise=True, members=2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for task, value in model(inputs()).items():
        np.testing.assert_array_equal(again(inputs())[task], value)


class OneBottom(Committee):
    def shared_bottom(self, x, training=None):
        return self.bottom(x, training=training)


def test_a_shared_bottom_that_is_not_the_members_is_refused():
    with pytest.raises(ValueError, match=r"one tensor with 2 members of \d+ side by side"):
        build(OneBottom, members=2)(inputs())


@pytest.mark.parametrize("arguments", [{"members": 0}, {"units": ()}])
def test_arguments_outside_their_domain_are_refused(arguments):
    with pytest.raises(ValueError, match="members must be at least 1 and units not empty"):
        Committee(FEATURES, TASKS, STATISTICS, **arguments)
