"""Experts and gates of a run that starts from a trained one."""

import pytest

from tests.trainers.inherit.conftest import CONSTANT
from tests.trainers.inherit.test_start import ADDED, EXACT, TASK, TASKS, difference, started
from tests.trainers.runs import DAYS, load
from trainers import Run

PLE = "model.bottom={kind: ple, units: [8, 8]}"
MMOE = "model.bottom={kind: mmoe, units: [8, 8]}"
KEYS = ("model.rezero=true", "export.when=never", "trainer.steps=4")


def trained(log, path, *keys) -> Run:
    run = Run.open(load(log, *KEYS, *CONSTANT, *keys, f"data.until={DAYS[1]}"), path)
    run.train()
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "change"),
    [
        # Without layers below, experts and gates themselves lose constant features, whose mean stays.
        ((PLE, "model.units=[]"), (PLE, "model.units=[]", *ADDED, *TASK)),
        ((MMOE, "model.units=[12]"), (MMOE, "model.units=[16]", *ADDED, *TASK)),
        (
            (MMOE, "model.class=tfstable.models.Committee", "model.options={members: 2}"),
            (MMOE, "model.class=tfstable.models.Committee", "model.options={members: 2}", *TASK),
        ),
    ],
)
def test_a_task_that_joins_leaves_the_others_as_they_are(log, tmp_path, before, change):
    source = trained(log, tmp_path / "source", *before)
    keys = KEYS if len(change) > 3 else (*KEYS, *CONSTANT)
    parts = started(load(log, *keys, *change, f"init.from={source.path}"), tmp_path / "run")
    assert difference(parts, source, TASKS) < EXACT


def test_a_shared_bottom_does_not_become_experts(log, tmp_path):
    source = trained(log, tmp_path / "source")
    parts = started(load(log, *KEYS, *CONSTANT, MMOE, f"init.from={source.path}"), tmp_path / "run")
    (event,) = parts.run.events("initialised")
    line = {"part": "experts", "done": "made anew", "note": "model.bottom: shared -> mmoe", "exact": False}
    assert line in event["parts"]
    predicted = parts.state.predict(DAYS[3])
    assert abs(predicted["click"] - parts.statistics.base_rates["click"]).max() < 1e-6
