"""The training run as a whole, on small real logs: windows in order, and that stopping changes nothing."""

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import (
    DAYS,
    ROWS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    copy_days,
    load,
    metrics,
    start,
    weights,
)
from tfstable.errors import InputError
from tfstable.serving import export
from trainers import config as configs


def test_a_run_leaves_the_files_of_the_design(whole):
    assert configs.load(whole / "params.yaml").trainer.batch_size == 256
    assert sorted(path.name for path in (whole / "windows").iterdir()) == [
        "2025-01-02",
        "2025-01-03",
        "2025-01-04",
        "2025-01-05",
    ]
    first = metrics(whole, DAYS[1])
    assert first["window"] == ["2025-01-01", "2025-01-02"]
    assert first["eval_day"] == "2025-01-03"
    assert first["examples"] == 2 * ROWS
    assert first["steps"] == 8  # ceil(2000 / 256)
    counts = {"labels", "positives", "predicted", "spread"}
    click = {"auc", "auc_se", "pr_auc", "pr_auc_se", "gauc", "logloss", "ne", "calibration", "ece", "best_auc"}
    click |= {"ndcg@5", "recall@5", "mrr", "map"} | counts
    assert set(first["tasks"]["click"]) == click | {"slices"}
    assert set(first["tasks"]["watch_time"]) == {"rmse", "rmse_se", "mae", "calibration", "slices"} | counts
    for of_slice in first["tasks"]["click"]["slices"]["category"].values():
        assert set(of_slice) == click - {"spread"}
    last = metrics(whole, DAYS[4])
    assert last["eval_day"] is None
    assert last["tasks"] is None
    assert metrics(whole) == metrics(whole, DAYS[3])
    assert list((whole / "tensorboard").iterdir())
    assert not [path for path in whole.rglob("*") if "partial" in path.name]


def test_the_model_learns(whole):
    tasks = metrics(whole)["tasks"]
    assert tasks["click"]["auc"] > 0.55  # 4000 examples are few; without learning it is 0.5 within 0.02.
    assert tasks["click"]["auc"] < tasks["click"]["best_auc"]


def test_two_runs_are_bitwise_equal(whole, log, tmp_path):
    start(log, tmp_path / "again", "export.when=never")  # Nor does an export leave a trace.
    assert_same_run(whole, tmp_path / "again")


def test_the_daily_job_trains_on_the_new_day_alone_and_ends_where_one_run_would(whole, log, tmp_path):
    growing = copy_days(log, DAYS[:4], tmp_path / "log")
    start(growing, tmp_path / "run")
    assert metrics(tmp_path / "run", DAYS[3])["eval_day"] is None
    finished = (tmp_path / "run" / "windows" / str(DAYS[2]) / "metrics.json").stat().st_mtime_ns
    copy_days(log, DAYS[4:], growing)
    start(growing, tmp_path / "run")
    assert metrics(tmp_path / "run", DAYS[3])["eval_day"] == str(DAYS[4])
    assert (tmp_path / "run" / "windows" / str(DAYS[2]) / "metrics.json").stat().st_mtime_ns == finished
    assert export.versions(tmp_path / "run" / "export") == [1, 2]
    assert_same_run(whole, tmp_path / "run")


def test_a_finished_run_has_nothing_to_do(whole, log):
    before = {
        path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file() and path.name != "params.yaml"
    }
    start(log, whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_stopped_inside_a_window_goes_on_as_if_it_had_not(whole, log, tmp_path):
    config = load(log, "trainer.checkpoint_minutes=1e-9")
    with pytest.raises(StoppedError):
        begun(config, tmp_path / "run", StoppingReport).train()
    assert 0 < weights(tmp_path / "run")["position/step/.ATTRIBUTES/VARIABLE_VALUE"] < 8
    start(log, tmp_path / "run", "trainer.checkpoint_minutes=1e-9", "export.when=never")
    assert_same_run(whole, tmp_path / "run")


def test_dropout_goes_on_where_it_stopped(log, tmp_path):
    settings = ("trainer.checkpoint_minutes=1e-9", "model.dropout=0.2", "export.when=never")
    start(log, tmp_path / "whole", *settings)
    with pytest.raises(StoppedError):
        begun(load(log, *settings), tmp_path / "run", StoppingReport).train()
    start(log, tmp_path / "run", *settings)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_no_day_is_trained_on_before_it_is_evaluated(whole, log, tmp_path):
    # Other labels on the last day change nothing that was measured before it.
    other = copy_days(log, DAYS, tmp_path / "log")
    path = other / f"date={DAYS[4]}" / "part-0.parquet"
    table = pq.read_table(path)
    flipped = pa.array(1 - table["click"].to_numpy())
    pq.write_table(table.set_column(table.schema.get_field_index("click"), "click", flipped), path)
    start(other, tmp_path / "run", "export.when=never")
    for day in DAYS[1:3]:
        assert metrics(tmp_path / "run", day) == metrics(whole, day)
    ours, theirs = metrics(whole, DAYS[3])["tasks"], metrics(tmp_path / "run", DAYS[3])["tasks"]
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


def test_steps_and_parts_of_a_pass(log, tmp_path):
    start(log, tmp_path / "steps", "trainer.steps=3", "export.when=never")
    assert metrics(tmp_path / "steps", DAYS[1])["steps"] == 3
    assert metrics(tmp_path / "steps", DAYS[1])["examples"] == 3 * 256
    start(log, tmp_path / "passes", "trainer.passes=2.5", "export.when=never")
    assert metrics(tmp_path / "passes", DAYS[1])["steps"] == 20  # 2.5 passes of 8 steps
    assert metrics(tmp_path / "passes", DAYS[1])["examples"] == 2 * 2000 + 4 * 256
