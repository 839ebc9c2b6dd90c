"""Runs with the rules and clippings whose state is not of the weights' shapes: stopped, resumed, compiled, exported."""

from pathlib import Path

import pytest

from tests.trainers.runs import (
    ROWS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    load,
    metrics,
    start,
    weights,
)
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate

BY_ROW = (
    "optimizer.embeddings={accumulator: row, forget: 0.8, clipping: {kind: clippy, scope: row, accumulate: clipped}}"
)
EMA = "optimizer.averaging={kind: ema, horizon_steps: 9}"
KEYS = {
    "adafactor, adagc": ("{rule: adafactor, learning_rate: 0.02, clipping: {kind: adagc, warmup_steps: 3}}", BY_ROW),
    "muon, zclip": ("{rule: muon, learning_rate: 0.003, clipping: {kind: zclip, warmup_steps: 3}}", BY_ROW, EMA),
    "adagn, xla": ("{learning_rate: 0.05, clipping: {kind: adagn, accumulate: raw}}", BY_ROW, "trainer.xla=true"),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=4, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", KEYS)
def test_a_run_stopped_inside_a_window_goes_on_bitwise_and_is_exported(name, log, tmp_path):
    dense, *others = KEYS[name]
    keys = (f"optimizer.dense={dense}", *others, "trainer.steps_per_call=2", "export.gate=null")
    start(log, tmp_path / "whole", *keys)
    with pytest.raises(StoppedError):
        begun(load(log, *keys, "trainer.checkpoint_minutes=1e-9"), tmp_path / "run", StoppingReport).train()
    assert weights(tmp_path / "run")["position/step/.ATTRIBUTES/VARIABLE_VALUE"] > 0
    start(log, tmp_path / "run", *keys)
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    assert (tmp_path / "run" / "export" / "latest").exists()
    assert metrics(tmp_path / "run")["tasks"]["click"]["auc"] > 0.5


@pytest.mark.slow
def test_a_clipping_that_remembers_can_be_dropped_but_not_taken_up(log, tmp_path):
    clipped, plain = (f"optimizer.dense.clipping={c}" for c in ("{kind: zclip}", "{kind: gradient_norm}"))
    start(log, tmp_path / "run", clipped, "data.until=2025-01-02")
    start(log, tmp_path / "run", plain, "data.until=2025-01-03")
    with pytest.raises(InputError, match=r"optimizer\.dense\.clipping\.kind \(gradient_norm -> zclip\)"):
        begun(load(log, clipped), tmp_path / "run")
