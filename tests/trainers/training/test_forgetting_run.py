"""A run whose accumulators forget: once at each window's end, wherever it is interrupted."""

import pytest

from tests.trainers.runs import DAYS, ROWS, StoppedError, assert_same_run, begun, load, start
from tfstable.sources.simulate import simulate
from trainers.training.state import RunState

FORGET = ("optimizer.embeddings.forget=0.5", "optimizer.dense.forget=0.25", "export.when=never")


@pytest.mark.slow
def test_a_run_forgets_once_where_it_is_interrupted_before_and_behind_a_window_s_checkpoint(tmp_path, monkeypatch):
    log = tmp_path / "log"
    simulate(log, days=len(DAYS), rows_per_day=ROWS, users=200, videos=100)
    start(log, tmp_path / "whole", *FORGET)

    save, ended = RunState.save_window, []

    def stopping(self, last, first):
        ended.append(last)
        if len(ended) == 2:  # The window has forgotten, and nothing of that is saved.
            raise StoppedError
        save(self, last, first)
        if len(ended) == 4:  # All is saved, and the next day not evaluated yet.
            raise StoppedError

    monkeypatch.setattr(RunState, "save_window", stopping)
    options = (*FORGET, "trainer.checkpoint_minutes=1e-9")  # After every call: the window goes on from inside.
    for _ in range(2):
        with pytest.raises(StoppedError):
            begun(load(log, *options), tmp_path / "run").train()
    assert ended == [DAYS[1], DAYS[2], DAYS[2], DAYS[3]]
    monkeypatch.undo()
    start(log, tmp_path / "run", *options)
    assert_same_run(tmp_path / "whole", tmp_path / "run")
