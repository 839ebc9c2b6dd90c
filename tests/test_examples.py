"""The examples do what they say."""

import runpy
from datetime import date
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_any_keras_model_diverges_plainly_and_learns_with_the_layers_and_the_optimizer():
    found = runpy.run_path(str(EXAMPLES / "any_keras_model.py"))
    losses, aucs = found["losses"], found["aucs"]
    assert max(losses["plain"]) > 1000  # A coin has a loss of 0.693.
    assert losses["plain"][-1] > 0.693
    assert aucs["plain"] < 0.55
    assert losses["stable"][-1] < 0.5
    assert aucs["stable"] > 0.85


def test_train_from_python_learns_resumes_and_serves(capfd):
    found = runpy.run_path(str(EXAMPLES / "train_from_python.py"))
    assert list(found["table"].index) == [date(2025, 1, day) for day in (3, 4, 5, 6)]
    assert found["table"]["auc"].iloc[-1] > 0.75
    assert found["newest"].eval_day == date(2025, 1, 7)
    assert (found["place"] / "auc.png").read_bytes().startswith(b"\x89PNG")
    predicted = found["run"].predict(date(2025, 1, 7))
    assert predicted["click"].shape == (6000,)
    served = found["serving"]({name: found["more"][name].to_numpy() for name in ("user", "video")})
    np.testing.assert_allclose(served["click"], predicted["click"], atol=1e-5)
    out = capfd.readouterr().out
    assert "steps in" not in out  # `Run` prints nothing by itself.
