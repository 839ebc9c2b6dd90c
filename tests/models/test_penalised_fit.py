"""Each penalty under Keras's `fit`: what is reported, skipped, saved and refused."""

import re

import keras
import numpy as np
import pytest

from tests.models.cases import INPUTS
from tests.models.compiled import fit, make
from tests.models.contract import long
from tests.models.test_penalised import PENALTIES
from tfstable.models import RankingModel


@pytest.mark.parametrize("kind", ["fgm", *(long(kind) for kind in PENALTIES if kind != "fgm")])
def test_fit_trains_and_skips_a_step_that_is_not_finite(kind):
    model = make(penalty=PENALTIES[kind], activation="smelu")
    first = fit(model, batch_size=6)["loss"][0]
    if kind != "noise":
        plain = make(activation="smelu")
        np.testing.assert_allclose(fit(plain, batch_size=6)["loss"][0], first, rtol=1e-6)  # Without the penalty.
    before = [variable.numpy() for variable in model.variables]
    slots = [variable.numpy() for variable in model.optimizer.variables[3:]]
    fit(model, {**INPUTS, "age": np.float32([0, np.nan, 1, 2, 3, 4])}, batch_size=6)
    assert int(model.optimizer.skipped_steps.numpy()) == 1
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    for old, variable in zip(slots, model.optimizer.variables[3:], strict=True):
        np.testing.assert_array_equal(old, variable)


def test_a_penalty_that_overflows_skips_the_step_though_the_loss_is_finite():
    model = make(penalty={"kind": "gradient", "weight": 1e38}, activation="smelu")
    history = fit(model, {**INPUTS, "age": np.full(6, 1e3, np.float32)}, batch_size=6, epochs=2)
    assert int(model.optimizer.skipped_steps.numpy()) == 2
    assert np.isnan(history["loss"]).all()  # The mean over no batch.


def test_predictions_and_saved_models_are_without_it(tmp_path):
    model = make(penalty=PENALTIES["noise"], activation="smelu")
    fit(model)
    plain = make(activation="smelu")
    plain.build()
    plain.set_weights(model.get_weights())
    for name, value in model.predict(INPUTS, verbose=0).items():
        np.testing.assert_array_equal(value, plain.predict(INPUTS, verbose=0)[name])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.penalty == model.penalty
    for one in (model, again):
        one.run_eagerly = True
        fit(one)
    for mine, theirs in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Closed(RankingModel):
    def call(self, features, training=None, as_logits=False):
        return super().call(features, training=training, as_logits=as_logits)


def test_a_call_that_does_not_pass_on_the_move_is_refused():
    model = make(Closed, penalty=PENALTIES["fgm"])
    with pytest.raises(ValueError, match=re.escape("Closed.call must take move=None and give it the input vectors")):
        fit(model)
    fit(make(Closed, penalty=PENALTIES["flooding"]))  # Which moves nothing.
