"""The training run as a whole, on small real logs: what it leaves behind, and that stopping changes nothing."""

import json
import shutil
import subprocess
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainers import commands
from tests.trainers.runs import (
    DAYS,
    ROWS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    copy_days,
    is_model_weight,
    load,
    metrics,
    start,
    weights,
)
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.metrics import auc
from tfstable.serving import export
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers import config as configs
from trainers.training.check import open_log
from trainers.training.evaluation import evaluate


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """Five days."""
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=5, rows_per_day=ROWS, users=200, videos=100)
    return path


@pytest.fixture(scope="module")
def run(log, tmp_path_factory) -> Path:
    """An uninterrupted run over the five days."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    start(log, path, "trainer.tensorboard=true")
    return path


def test_a_run_leaves_the_files_of_the_design(run):
    assert configs.load(run / "params.yaml").trainer.batch_size == 256
    assert sorted(path.name for path in (run / "windows").iterdir()) == [
        "2025-01-02",
        "2025-01-03",
        "2025-01-04",
        "2025-01-05",
    ]
    first = metrics(run, DAYS[1])
    assert first["window"] == ["2025-01-01", "2025-01-02"]
    assert first["eval_day"] == "2025-01-03"
    assert first["examples"] == 2 * ROWS
    assert first["steps"] == 8  # ceil(2000 / 256)
    counts = {"labels", "positives", "predicted", "spread"}
    assert set(first["tasks"]["click"]) == {"auc", "auc_se", "gauc", "logloss", "calibration", "best_auc"} | counts
    assert set(first["tasks"]["watch_time"]) == {"rmse", "rmse_se", "mae", "calibration"} | counts
    last = metrics(run, DAYS[4])
    assert last["eval_day"] is None
    assert last["tasks"] is None
    assert metrics(run) == metrics(run, DAYS[3])
    assert list((run / "tensorboard").iterdir())
    assert not [path for path in run.rglob("*") if "partial" in path.name]


def test_metrics_are_those_of_the_exported_model_over_the_whole_day(run, log, tmp_path):
    # The last window's model, with day 5 as if it were new: predictions of the SavedModel, metrics by hand.
    serving = export.Serving(run / "export" / "1")
    day = pq.read_table(log / f"date={DAYS[4]}")
    raw = {name: day[name].to_numpy(zero_copy_only=False) for name in ("user_id", "video_id", "category")}
    raw |= {
        name: np.nan_to_num(day[name].to_numpy(zero_copy_only=False), nan=np.nan)
        for name in ("duration_s", "user_followed")
    }
    lists = day["tags"].to_pylist()
    raw["tags"] = np.array([[*tags, "", "", ""][:3] for tags in lists], object)
    predictions = serving(raw)
    config = load(log)
    daylog = DayLog(log)
    model = Run.open(load(log, "trainer.tensorboard=true"), run).parts()
    for task, expected in model.state.predict(DAYS[4]).items():
        assert expected.shape == (ROWS,)
        np.testing.assert_allclose(predictions[task], expected, rtol=1e-5, atol=1e-5)
    got = evaluate(config, daylog, DAYS[4], model.state.predict(DAYS[4]))
    labels, weight = day["click"].to_numpy(), day["weight"].to_numpy()
    assert got["click"]["auc"] == pytest.approx(auc(labels, predictions["click"], weight), abs=1e-4)
    squared = np.square(day["watch_time_s"].to_numpy() - predictions["watch_time"])
    assert got["watch_time"]["rmse"] == pytest.approx(np.sqrt(np.average(squared, weights=weight)), rel=1e-4)


def test_the_model_learns(run):
    tasks = metrics(run)["tasks"]
    assert tasks["click"]["auc"] > 0.55  # 4000 examples are few; without learning it is 0.5 within 0.02.
    assert tasks["click"]["auc"] < tasks["click"]["best_auc"]


def test_two_runs_are_bitwise_equal(run, log, tmp_path):
    start(log, tmp_path / "again", "export.when=never")  # Nor does an export leave a trace.
    assert_same_run(run, tmp_path / "again")


def test_the_daily_job_trains_on_the_new_day_alone_and_ends_where_one_run_would(run, log, tmp_path):
    growing = copy_days(log, DAYS[:4], tmp_path / "log")
    start(growing, tmp_path / "run")
    assert metrics(tmp_path / "run", DAYS[3])["eval_day"] is None
    finished = (tmp_path / "run" / "windows" / str(DAYS[2]) / "metrics.json").stat().st_mtime_ns
    copy_days(log, DAYS[4:], growing)
    start(growing, tmp_path / "run")
    assert metrics(tmp_path / "run", DAYS[3])["eval_day"] == str(DAYS[4])
    assert (tmp_path / "run" / "windows" / str(DAYS[2]) / "metrics.json").stat().st_mtime_ns == finished
    assert export.versions(tmp_path / "run" / "export") == [1, 2]
    assert_same_run(run, tmp_path / "run")


def test_a_finished_run_has_nothing_to_do(run, log):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != "params.yaml"}
    start(log, run)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_stopped_inside_a_window_goes_on_as_if_it_had_not(run, log, tmp_path):
    config = load(log, "trainer.checkpoint_minutes=1e-9")
    with pytest.raises(StoppedError):
        begun(config, tmp_path / "run", StoppingReport).train()
    assert 0 < weights(tmp_path / "run")["position/step/.ATTRIBUTES/VARIABLE_VALUE"] < 8
    start(log, tmp_path / "run", "trainer.checkpoint_minutes=1e-9", "export.when=never")
    assert_same_run(run, tmp_path / "run")


def test_no_day_is_trained_on_before_it_is_evaluated(run, log, tmp_path):
    # Other labels on the last day change nothing that was measured before it.
    other = copy_days(log, DAYS, tmp_path / "log")
    path = other / f"date={DAYS[4]}" / "part-0.parquet"
    table = pq.read_table(path)
    flipped = pa.array(1 - table["click"].to_numpy())
    pq.write_table(table.set_column(table.schema.get_field_index("click"), "click", flipped), path)
    start(other, tmp_path / "run", "export.when=never")
    for day in DAYS[1:3]:
        assert metrics(tmp_path / "run", day) == metrics(run, day)
    ours, theirs = metrics(run, DAYS[3])["tasks"], metrics(tmp_path / "run", DAYS[3])["tasks"]
    assert ours["click"]["auc"] == pytest.approx(1 - theirs["click"]["auc"], abs=1e-9)  # The same predictions.
    assert ours["follow"] == theirs["follow"]


def test_strides_evaluate_every_day_before_training_on_it(log, tmp_path):
    start(log, tmp_path / "run", "trainer.stride_days=2", "export.when=never")
    assert sorted(path.name for path in (tmp_path / "run" / "windows").iterdir()) == ["2025-01-02", "2025-01-04"]
    first = metrics(tmp_path / "run", DAYS[1])
    assert first["eval_day"] == "2025-01-03"
    assert list(first["later_days"]) == ["2025-01-04"]
    assert not (tmp_path / "run" / "export").exists()

    # Days that come one by one are evaluated one by one, each before the window that holds it.
    growing = copy_days(log, DAYS[:2], tmp_path / "log")
    for day in DAYS[2:]:
        start(growing, tmp_path / "daily", "trainer.stride_days=2", "export.when=never")
        copy_days(log, [day], growing)
    start(growing, tmp_path / "daily", "trainer.stride_days=2", "export.when=never")
    assert_same_run(tmp_path / "run", tmp_path / "daily")


def test_a_gap_can_be_skipped(log, tmp_path):
    gap = copy_days(log, [DAYS[0], DAYS[1], DAYS[3]], tmp_path / "log")
    with pytest.raises(InputError, match="no day between 2025-01-02 and 2025-01-04"):
        start(gap, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    start(gap, tmp_path / "run", "data.missing_day=skip", "export.when=never")
    assert metrics(tmp_path / "run", DAYS[1])["eval_day"] == "2025-01-04"


def test_a_bad_day_leaves_finished_windows_intact(log, tmp_path):
    growing = copy_days(log, DAYS[:3], tmp_path / "log")
    start(growing, tmp_path / "run", "export.when=never")
    before = weights(tmp_path / "run")
    copy_days(log, DAYS[3:4], growing)
    path = growing / f"date={DAYS[3]}" / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"part-0\.parquet: cannot be read"):
        start(growing, tmp_path / "run", "export.when=never")
    after = weights(tmp_path / "run")
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)
    shutil.copy(log / f"date={DAYS[3]}" / "part-0.parquet", path)
    start(growing, tmp_path / "run", "export.when=never")
    assert metrics(tmp_path / "run", DAYS[2])["eval_day"] == str(DAYS[3])


def test_a_bad_value_found_while_training_is_the_error_of_the_run(run, log, tmp_path):
    # Only reading the rows shows it: the stream ends with the reader's own error, after the windows before it.
    bad = copy_days(log, DAYS[:4], tmp_path / "log")
    path = bad / f"date={DAYS[3]}" / "part-0.parquet"
    table = pq.read_table(path)
    wrong = pa.array(np.full(ROWS, 2))
    pq.write_table(table.set_column(table.schema.get_field_index("click"), "click", wrong), path)
    with pytest.raises(InputError, match=r"tasks\.click: column click holds 2; .*part-0\.parquet: \d+ of its \d+ rows"):
        start(bad, tmp_path / "run")
    assert metrics(tmp_path / "run", DAYS[1]) == metrics(run, DAYS[1])
    assert not list((tmp_path / "run").rglob("*partial*"))


def test_another_config_is_refused_unless_fresh(run, log, tmp_path):
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    with pytest.raises(InputError, match=r"model\.beta \(1\.0 -> 2\.0\).*--fresh"):
        start(log, tmp_path / "run", "model.beta=2.0")
    assert_same_run(run, tmp_path / "run")
    start(log, tmp_path / "run", "trainer.steps_per_call=5")  # An operational key may change.
    assert_same_run(run, tmp_path / "run")
    start(log, tmp_path / "run", "model.beta=2.0", "export.when=never", fresh=True)
    assert not (tmp_path / "run" / "export").exists()
    assert metrics(tmp_path / "run") != metrics(run)


def test_the_signature_takes_raw_columns_by_name(run):
    signature = tf.saved_model.load(str(run / "export" / "1")).signatures["serving_default"]
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


def test_a_csv_log_trains_as_the_parquet_log_does(run, log, tmp_path):
    parquet = copy_days(log, DAYS[:3], tmp_path / "as parquet")
    for day in DAYS[:3]:
        (tmp_path / "log" / f"date={day}").mkdir(parents=True)
        table = pq.read_table(log / f"date={day}" / "part-0.parquet")
        pyarrow.csv.write_csv(table.drop_columns("tags"), tmp_path / "log" / f"date={day}" / "part-0.csv")
    no_tags = load(log, "export.when=never").model_dump(mode="json", by_alias=True)
    del no_tags["features"]["tags"]
    for name, path in {"parquet": parquet, "csv": tmp_path / "log"}.items():
        config = configs.Config.model_validate({**no_tags, "data": {**no_tags["data"], "path": str(path)}})
        Run.open(config, tmp_path / name).train()
    assert_same_run(tmp_path / "parquet", tmp_path / "csv")


def test_steps_and_parts_of_a_pass(log, tmp_path):
    start(log, tmp_path / "steps", "trainer.steps=3", "export.when=never")
    assert metrics(tmp_path / "steps", DAYS[1])["steps"] == 3
    assert metrics(tmp_path / "steps", DAYS[1])["examples"] == 3 * 256
    start(log, tmp_path / "passes", "trainer.passes=2.5", "export.when=never")
    assert metrics(tmp_path / "passes", DAYS[1])["steps"] == 20  # 2.5 passes of 8 steps
    assert metrics(tmp_path / "passes", DAYS[1])["examples"] == 2 * 2000 + 4 * 256


def test_a_class_of_ones_own_from_the_config(log, tmp_path):
    options = ["model.class=examples.mmoe.MMoE", "model.options={experts: 3, expert_units: [8]}"]
    start(log, tmp_path / "run", *options)
    gates = [value for name, value in weights(tmp_path / "run").items() if value.shape == (16, 3)]
    assert len(gates) == 2 * 3  # Three tasks: a kernel for each and its Adagrad slot.
    assert metrics(tmp_path / "run")["tasks"]["click"]["auc"] > 0.5
    with pytest.raises(InputError, match=r"model\.options\.expert: not an argument of examples\.mmoe\.MMoE"):
        start(log, tmp_path / "other", options[0], "model.options={expert: 3}")
    with pytest.raises(InputError, match=r"model\.class: examples\.nothing\.Model cannot be imported"):
        start(log, tmp_path / "third", "model.class=examples.nothing.Model")


def test_mixed_precision_keeps_weights_and_predictions_in_float32(run, log, tmp_path):
    start(log, tmp_path / "run", "trainer.precision=mixed_bfloat16")
    assert {value.dtype for value in weights(tmp_path / "run").values()} <= {np.dtype(np.float32), np.dtype(np.int64)}
    for task in ("click", "follow"):
        ours, theirs = metrics(run)["tasks"][task]["auc"], metrics(tmp_path / "run")["tasks"][task]["auc"]
        assert ours != theirs  # bfloat16 was at work,
        assert ours == pytest.approx(theirs, abs=0.05)  # and did no harm beyond the noise of 1000 rows.
    signature = tf.saved_model.load(str(tmp_path / "run" / "export" / "1")).signatures["serving_default"]
    assert {spec.dtype for spec in signature.structured_outputs.values()} == {tf.float32}


def test_mirrored_replicas_train_to_the_same_weights(run, log, tmp_path):
    # Real replicas: two logical CPUs, which a process must ask for before TensorFlow starts.
    program = f"""
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.trainers.runs import start
from pathlib import Path
start(Path({str(log)!r}), Path({str(tmp_path / "run")!r}), "trainer.strategy=mirrored")
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = weights(run), weights(tmp_path / "run")
    for name, value in ours.items():
        if is_model_weight(name):
            distance = np.linalg.norm(value - theirs[name]) / max(np.linalg.norm(value), 1e-12)
            assert distance <= 1e-5, (name, distance)
    for task, values in metrics(run)["tasks"].items():
        assert values == pytest.approx(metrics(tmp_path / "run")["tasks"][task], rel=1e-3), task


def test_an_interrupted_simulation_is_not_taken_for_the_log(tmp_path):
    config = load(tmp_path / "log", "data.simulate={days: 2, rows_per_day: 100}")

    def interrupt(done, total, what):
        if done:
            raise StoppedError

    with pytest.raises(StoppedError):
        open_log(config, interrupt)
    assert not (tmp_path / "log").exists()
    assert open_log(config, lambda *_: None).days == [date(2025, 1, 1), date(2025, 1, 2)]


def test_evaluate_export_and_predict_from_the_command_line(run, log, tmp_path, monkeypatch, capsys):
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "export")

    def tfstable(*arguments) -> str:
        status, printed, complaints = commands.tfstable(monkeypatch, capsys, *arguments)
        assert status == 0, complaints
        return printed

    # The newest checkpoint has seen all five days; what it says of the last one is not what was measured before.
    printed = json.loads(tfstable("evaluate", "--model-dir", tmp_path / "run", "--day", DAYS[4]))
    assert printed["trained_to"] == printed["day"] == str(DAYS[4])
    assert printed["tasks"]["click"]["auc"] > metrics(run)["tasks"]["click"]["auc"]

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


def test_tensorboard_has_losses_metrics_and_on_request_what_clipping_did(run, log, tmp_path):
    written = scalars(run)
    steps = [step for step, _ in written["loss"]]
    assert {8, 16, 24, 32} <= set(steps)  # A point a call, of at most three steps, and none over a window's end.
    assert all(0 < after - before <= 3 for before, after in pairwise([0, *steps]))
    assert written["auc/click"][-1] == (24, pytest.approx(metrics(run)["tasks"]["click"]["auc"]))
    assert not [name for name in written if name.startswith("clipping_factor")]

    # Asked for later, the run goes on from its checkpoints, and its weights stay what they were.
    four = copy_days(log, DAYS[:4], tmp_path / "log")
    start(four, tmp_path / "run", "export.when=never")
    copy_days(log, DAYS[4:], four)
    asked = ("trainer.track_every=4", "trainer.sharpness_every=8", "trainer.tensorboard=true")
    start(four, tmp_path / "run", *asked, "export.when=never")
    ours, theirs = weights(run), weights(tmp_path / "run")
    assert all(np.array_equal(v, theirs[name]) for name, v in ours.items() if is_model_weight(name))
    written = scalars(tmp_path / "run")
    kernel = next(name for name in written if name.startswith("clipping_factor/") and name.endswith("dense_0/kernel"))
    assert [step for step, _ in written[kernel]] == [28, 32]  # The last window's steps 25 to 32.
    assert all(0 < value <= 1 for _, value in written[kernel])
    assert [step for step, _ in written["hessian/sharpness"]] == [32]
    assert written["two_over_rate/sharpness"] == [(32, pytest.approx(2 / 0.05))]


def test_skipped_steps_are_told_of(log, tmp_path):
    # A weight of 1e30 makes gradients that no accumulator could hold: those steps change nothing.
    bad = copy_days(log, DAYS[:2], tmp_path / "log")
    path = bad / f"date={DAYS[1]}" / "part-0.parquet"
    table = pq.read_table(path)
    huge = np.where(np.arange(ROWS) == 500, 1e30, table["weight"].to_numpy()).astype(np.float32)
    pq.write_table(table.set_column(table.schema.get_field_index("weight"), "weight", pa.array(huge)), path)
    start(bad, tmp_path / "run", "export.when=never")
    (event,) = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert event["event"] == "skipped_steps"
    assert event["count"] == 1
    assert event["window_end"] == "2025-01-02"
    assert all(np.isfinite(v).all() for name, v in weights(tmp_path / "run").items() if is_model_weight(name))


def test_what_only_reading_the_first_window_shows_leaves_nothing_behind(log, tmp_path):
    bad = copy_days(log, DAYS[:2], tmp_path / "log")
    path = bad / f"date={DAYS[0]}" / "part-0.parquet"
    table = pq.read_table(path)
    twos = pa.array(np.full(ROWS, 2))
    pq.write_table(table.set_column(table.schema.get_field_index("click"), "click", twos), path)
    with pytest.raises(InputError, match=r"tasks\.click: column click holds 2; a binary label is 0, 1 or null"):
        start(bad, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"model\.class: nowhere\.Model cannot be imported"):
        start(log, tmp_path / "run", "model.class=nowhere.Model")
    assert not (tmp_path / "run").exists()
