"""Runs with a penalty: killed and resumed, refused, changed, tried in both grids."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainers.launch import start as start_process
from tests.trainers.runs import DAYS, ROWS, assert_same_run, load, start
from tfstable.errors import InputError
from tfstable.models import RankingModel
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers.build.model import model_class

VAT = ("model.penalty={kind: vat, epsilon: 0.3}", "model.dropout=0.1", "export.when=never")


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


class Closed(RankingModel):
    def call(self, features, training=None, as_logits=False):
        return super().call(features, training=training, as_logits=as_logits)


def test_a_model_that_cannot_be_moved_is_refused_before_training(tmp_path):
    path = f"model.class={__name__}.Closed"
    with pytest.raises(InputError, match=r"model\.penalty: vat moves the input vectors .* add move=None to it"):
        model_class(load(tmp_path / "log", path, *VAT))
    assert model_class(load(tmp_path / "log", path, "model.penalty={kind: flooding, level: 1}")) is Closed


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_a_whole_one(log, tmp_path):
    """Dropout and the random directions of VAT go on where they were."""
    config = load(log, *VAT)
    start(log, tmp_path / "whole", *VAT)
    keys = (f"data.path={config.data.path}", *VAT, "trainer.checkpoint_minutes=0.000001")
    process = start_process(log.parent / "config.yaml", tmp_path / "run", *keys)
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "checkpoints" / "6").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    newest = max(int(p.name) for p in (tmp_path / "run" / "checkpoints").glob("[0-9]*") if p.name.isdigit())
    print(f"killed behind checkpoint {newest}")
    start(log, tmp_path / "run", *VAT)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_strength_may_change_and_a_kind_may_not(log, tmp_path):
    days = f"data.until={DAYS[2]}"
    start(log, tmp_path / "run", *VAT, days)
    start(log, tmp_path / "run", *VAT, "model.penalty={kind: vat, epsilon: 0.5}")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert any("model.penalty.epsilon" in json.dumps(event) for event in events)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    with pytest.raises(InputError, match=r"model\.penalty"):
        start(log, tmp_path / "other", "model.penalty={kind: noise, stddev: 0.1}", "model.dropout=0.1")
    with pytest.raises(InputError, match=r"model\.penalty"):
        start(log, tmp_path / "other", "model.dropout=0.1")
    Run.open(
        load(log, "export.when=never", f"data.since={DAYS[3]}"), tmp_path / "new", init_from=tmp_path / "run"
    ).train()


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["stability", "reproducibility"])
def test_grids_train_with_it(grid, log, tmp_path):
    load(log)
    penalty = {"kind": "fgm", "epsilon": 0.3}
    more = {
        "stability": [
            f"stability.treatments={json.dumps({'none': [{}], 'fgm': [{'model': {'penalty': penalty}}]})}",
            "stability.models={small: {}}",
            "stability.rates=[0.05]",
            "stability.rate_treatment=none",
            "stability.reported=[1]",
            "stability.most=1",
            "stability.seeds=1",
            "stability.choosing_days=1",
            "stability.sharpness_steps=0",
        ],
        "reproducibility": [
            f"reproducibility.curves={json.dumps({'none': [{}], 'fgm': [{'model.penalty': penalty}]})}",
            "reproducibility.runs=2",
            "reproducibility.days=1",
        ],
    }[grid]
    keys = [f"data.path={log}", "evaluation.slices=[]", *more]
    command = [sys.executable, "-m", "trainers", grid, "--config", str(log.parent / "config.yaml")]
    command += ["--out", str(tmp_path / "out"), *(part for key in keys for part in ("--set", key))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    assert "fgm" in (tmp_path / "out" / f"{grid}.md").read_text()
