"""The examples do what they say."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_any_keras_model_diverges_plainly_and_learns_with_the_layers_and_the_optimizer():
    found = runpy.run_path(str(EXAMPLES / "any_keras_model.py"))
    losses, aucs = found["losses"], found["aucs"]
    assert max(losses["plain"]) > 1000  # A coin has a loss of 0.693.
    assert losses["plain"][-1] > 0.693
    assert aucs["plain"] < 0.55
    assert losses["stable"][-1] < 0.5
    assert aucs["stable"] > 0.85
