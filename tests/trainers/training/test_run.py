"""Training from Python: `Run` is silent, sees new days, holds nothing open, and is what the command line is made of."""

import logging
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest

import trainers
from tests.trainers.runs import DAYS, ROWS, assert_same_run, copy_days, load, metrics, start
from tfstable.errors import InputError
from tfstable.files import plain
from tfstable.locks import locked
from tfstable.sources.simulate import simulate
from tfstable_command import main
from trainers import Run, load_config
from trainers.build.steps import Steps
from trainers.store.out_directory import BUSY
from trainers.training.run import SeenDayWarning


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="module")
def trained(log, tmp_path_factory) -> Run:
    """A run that this process has trained on the first four days."""
    run = Run.open(load(log, f"data.until={DAYS[3]}"), tmp_path_factory.mktemp("runs") / "run")
    run.train()
    return run


def test_it_is_silent_and_logging_has_the_lines(log, tmp_path, capfd, caplog):
    with caplog.at_level(logging.INFO, "tfstable"):
        record = Run.open(load(copy_days(log, DAYS[:3], tmp_path / "log")), tmp_path / "run").train()
    assert capfd.readouterr().out == ""
    lines = [line.getMessage() for line in caplog.records]
    assert any(line.startswith("window 2025-01-01 to 2025-01-02: 8 steps in ") for line in lines)
    assert any(line.startswith(f"exported {tmp_path / 'run' / 'export' / '1'}") for line in lines)
    assert record.eval_day == DAYS[2]
    assert record.tasks == metrics(tmp_path / "run")["tasks"]


@pytest.mark.filterwarnings("error::trainers.training.run.SeenDayWarning")
def test_a_held_out_day_is_evaluated_and_a_seen_one_warns(trained, log):
    assert [record.last for record in trained.windows()] == DAYS[1:4]
    assert trained.trained_to() == DAYS[3]
    new = trained.evaluate(DAYS[4])
    assert new["click"]["labels"] == ROWS
    with pytest.warns(SeenDayWarning, match=f"trained on days to {DAYS[3]}.*name a later day, up to {DAYS[4]}"):
        trained.evaluate(DAYS[2])
    reopened = Run.of(trained.path)
    assert plain(reopened.evaluate(DAYS[4])) == plain(new)  # NaN for a slice without positives.
    np.testing.assert_array_equal(reopened.predict(DAYS[4])["click"], trained.predict(DAYS[4])["click"])


def test_export_of_a_run_that_is_being_trained_elsewhere_is_refused(trained):
    assert trained.export() == trained.path / "export" / "1"  # `train` has published it.
    with locked(trained.path, BUSY), pytest.raises(InputError, match="wait until it ends"):
        trained.export()


def test_a_run_sees_days_that_come_later_and_ends_where_one_run_would(log, tmp_path):
    growing = copy_days(log, DAYS[:4], tmp_path / "log")
    run = Run.open(load(growing, "export.when=never"), tmp_path / "run")
    run.train()
    with pytest.warns(SeenDayWarning, match="hold days out: data.until"):
        run.evaluate(DAYS[3])
    copy_days(log, DAYS[4:], growing)
    assert run.evaluate(DAYS[4])["click"]["labels"] == ROWS
    assert run.train().eval_day == DAYS[4]
    start(log, tmp_path / "whole", "export.when=never")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_what_is_not_there_is_said_before_anything_is_written(log, tmp_path):
    run = Run.open(load(log), tmp_path / "run")
    for use in (run.export, run.trained_to, lambda: run.evaluate(DAYS[0]), lambda: run.predict(DAYS[0])):
        with pytest.raises(InputError, match="no finished window yet; train it first"):
            use()
    with pytest.raises(InputError, match="not a run of tfstable"):
        Run.of(tmp_path / "run")
    with pytest.raises(InputError, match=r"config: data\.path: missing"):
        load_config({"data": {}, "features": {"a": {"kind": "numeric"}}, "tasks": {"b": {"kind": "binary"}}})
    assert not (tmp_path / "run").exists()


def test_from_the_command_line_to_the_train_step_there_are_few_frames(log, tmp_path, monkeypatch):
    stacks = []

    class StepError(Exception):
        pass

    def step(*_):
        stacks.append([frame.filename for frame in traceback.extract_stack()])
        raise StepError

    monkeypatch.setattr(Steps, "train", step)
    monkeypatch.setattr(Steps, "trace", lambda *_: None)
    load(log)
    config = ["--config", str(log.parent / "config.yaml"), "--set", f"data.path={log}"]
    monkeypatch.setattr(sys, "argv", ["tfstable", "train", *config, "--model-dir", str(tmp_path / "run")])
    with pytest.raises(StepError):
        main()
    package = str(Path(trainers.__file__).parent)
    own = [file for file in stacks[0] if file.startswith(package)]
    assert len(own) <= 6, own
    assert len(set(own)) <= 4, own
