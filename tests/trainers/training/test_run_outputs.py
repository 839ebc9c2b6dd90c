"""What a run writes for others: metrics, signature, predictions, scalars for TensorBoard."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainers import commands
from tests.trainers.runs import DAYS, ROWS, copy_days, is_model_weight, load, metrics, start, weights
from tfstable.data.log import DayLog
from tfstable.metrics import auc
from tfstable.serving import export
from trainers import Run
from trainers.training.evaluation import evaluate


def test_metrics_are_those_of_the_exported_model_over_the_whole_day(whole, log, tmp_path):
    # The last window's model, with day 5 as if it were new: predictions of the SavedModel, metrics by hand.
    serving = export.Serving(whole / "export" / "1")
    day = pq.read_table(log / f"date={DAYS[4]}")
    raw = {name: day[name].to_numpy(zero_copy_only=False) for name in ("user_id", "video_id", "category")}
    raw |= {
        name: np.nan_to_num(day[name].to_numpy(zero_copy_only=False), nan=np.nan)
        for name in ("duration_s", "user_followed")
    }
    lists = day["tags"].to_pylist()
    raw["tags"] = np.array([[*tags[-3:], "", "", ""][:3] for tags in lists], object)
    predictions = serving(raw)
    config = load(log)
    daylog = DayLog(log)
    model = Run.open(load(log, "trainer.tensorboard=true"), whole).parts()
    for task, expected in model.state.predict(DAYS[4]).items():
        assert expected.shape == (ROWS,)
        np.testing.assert_allclose(predictions[task], expected, rtol=1e-5, atol=1e-5)
    got = evaluate(config, daylog, DAYS[4], model.state.predict(DAYS[4]))
    labels, weight = day["click"].to_numpy(), day["weight"].to_numpy()
    assert got["click"]["auc"] == pytest.approx(auc(labels, predictions["click"], weight), abs=1e-4)
    squared = np.square(day["watch_time_s"].to_numpy() - predictions["watch_time"])
    assert got["watch_time"]["rmse"] == pytest.approx(np.sqrt(np.average(squared, weights=weight)), rel=1e-4)


def test_the_signature_takes_raw_columns_by_name(whole):
    signature = tf.saved_model.load(str(whole / "export" / "1")).signatures["serving_default"]
    inputs = {
        name: (spec.dtype.name, spec.shape.rank) for name, spec in signature.structured_input_signature[1].items()
    }
    assert inputs == {
        "user_id": ("int64", 1),
        "video_id": ("int64", 1),
        "category": ("string", 1),
        "tags": ("string", 2),
        "duration_s": ("float32", 1),
        "user_followed": ("float32", 1),
    }
    assert {name: spec.dtype.name for name, spec in signature.structured_outputs.items()} == {
        "click": "float32",
        "follow": "float32",
        "watch_time": "float32",
    }


def test_evaluate_export_and_predict_from_the_command_line(whole, log, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "export")

    def tfstable(*arguments) -> str:
        status, printed, complaints = commands.tfstable(monkeypatch, capsys, *arguments)
        assert status == 0, complaints
        return printed

    # The newest checkpoint has seen all five days; what it says of the last one is not what was measured before.
    printed = json.loads(tfstable("evaluate", "--model-dir", tmp_path / "run", "--day", DAYS[4]))
    assert printed["trained_to"] == printed["day"] == str(DAYS[4])
    assert printed["tasks"]["click"]["auc"] > metrics(whole)["tasks"]["click"]["auc"]

    assert "export/1" in tfstable("export", "--model-dir", tmp_path / "run")
    assert "export/1" in tfstable("export", "--model-dir", tmp_path / "run")  # Once a window.
    assert export.versions(tmp_path / "run" / "export") == [1]

    arguments = ["--export", tmp_path / "run" / "export" / "1", "--data", log, "--out", tmp_path / "out.parquet"]
    tfstable("predict", *arguments, "--keep", "user_id,tags")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.names == ["date", "user_id", "tags", "click", "follow", "watch_time"]
    assert table.num_rows == 5 * ROWS
    last = table.slice(4 * ROWS)
    assert set(last["date"].to_pylist()) == {DAYS[4]}
    day = pq.read_table(log / f"date={DAYS[4]}")
    assert last["user_id"].to_pylist() == day["user_id"].to_pylist()
    got = auc(day["click"].to_numpy(), last["click"].to_numpy(), day["weight"].to_numpy())
    assert got == pytest.approx(printed["tasks"]["click"]["auc"], abs=1e-6)


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that the run wrote for TensorBoard, as (step, value) pairs."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((run / "tensorboard").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def test_tensorboard_has_losses_metrics_and_on_request_what_clipping_did(whole, log, tmp_path):
    written = scalars(whole)
    steps = [step for step, _ in written["loss"]]
    assert {8, 16, 24, 32} <= set(steps)  # A point a call, of at most three steps, and none over a window's end.
    assert all(0 < after - before <= 3 for before, after in pairwise([0, *steps]))
    assert written["auc/click"][-1] == (24, pytest.approx(metrics(whole)["tasks"]["click"]["auc"]))
    assert not [name for name in written if name.startswith("clipping_factor")]

    # Asked for later, the run goes on from its checkpoints, and its weights stay what they were.
    four = copy_days(log, DAYS[:4], tmp_path / "log")
    start(four, tmp_path / "run", "export.when=never")
    copy_days(log, DAYS[4:], four)
    asked = ("trainer.track_every=4", "trainer.sharpness_every=8", "trainer.task_gradients_every=8")
    asked += ("trainer.tensorboard=true",)
    start(four, tmp_path / "run", *asked, "export.when=never")
    ours, theirs = weights(whole), weights(tmp_path / "run")
    assert all(np.array_equal(v, theirs[name]) for name, v in ours.items() if is_model_weight(name))
    written = scalars(tmp_path / "run")
    kernel = next(name for name in written if name.startswith("clipping_factor/") and name.endswith("dense_0/kernel"))
    assert [step for step, _ in written[kernel]] == [28, 32]  # The last window's steps 25 to 32.
    assert all(0 < value <= 1 for _, value in written[kernel])
    assert [step for step, _ in written["hessian/sharpness"]] == [32]
    ((step, cosine),) = written["gradient_cosine/click, watch_time"]
    assert step == 32
    assert 0 < abs(cosine) < 1
    assert written["two_over_rate/sharpness"] == [(32, pytest.approx(2 / 0.05))]
