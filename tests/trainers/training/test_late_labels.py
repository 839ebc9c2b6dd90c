"""Tasks whose labels are complete only days later: trained and measured then, by the predictions of that time."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import DAYS, assert_same_run, copy_days, load, metrics, start, train, weights
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers.store.late_predictions import LatePredictions
from trainers.training.run import Run

LATE = ("tasks.click.matures_after_days=1", "trainer.window_days=1", "export.when=never")


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("late") / "log"
    simulate(path, days=len(DAYS), rows_per_day=300, users=100, videos=50)
    return path


@pytest.fixture(scope="module")
def whole(log) -> Path:
    """A run over all days at once."""
    start(log, log.parent / "whole", *LATE)
    return log.parent / "whole"


def fill(log: Path, day: date, label) -> None:
    """Writes other labels of a day: a number, or None to set them to null."""
    (file,) = (log / f"date={day}").glob("*.parquet")
    table = pq.read_table(file)
    column = table.schema.get_field_index("click")
    values = pa.array([label] * len(table), table.schema.field(column).type)
    pq.write_table(table.set_column(column, "click", values), file)


def clicks(run: Path, day: date) -> dict:
    """The metrics of click on an evaluated day."""
    (found,) = [record.evaluations[day]["click"] for record in Run.of(run).windows() if day in record.evaluations]
    return found


def test_a_day_is_measured_by_the_model_that_had_not_seen_it(whole, log, tmp_path):
    # No label was complete when the second day was predicted, and those of the fifth are not complete at its end.
    assert [clicks(whole, day)["labels"] > 0 for day in DAYS[1:]] == [False, True, True, False]
    assert LatePredictions(whole / "late").days() == DAYS[4:]
    start(copy_days(log, DAYS[:3], tmp_path / "log"), tmp_path / "short", *LATE)
    predicted = LatePredictions(tmp_path / "short" / "late").load(DAYS[2])["click"]
    labels = pq.read_table(next((log / f"date={DAYS[2]}").glob("*.parquet")))["click"].to_numpy()
    assert clicks(whole, DAYS[2])["predicted"] == pytest.approx(predicted[~np.isnan(labels)].sum(), rel=1e-6)
    assert metrics(whole)["eval_day"] == str(DAYS[4])


def test_labels_that_are_filled_in_later_make_the_same_run(whole, log, tmp_path):
    growing = tmp_path / "log"
    for number, day in enumerate(DAYS):
        copy_days(log, [day], growing)
        fill(growing, day, 0)  # Nobody has bought yet.
        if number:
            shutil.rmtree(growing / f"date={DAYS[number - 1]}")
            copy_days(log, [DAYS[number - 1]], growing)
        start(growing, tmp_path / "run", *LATE)
    assert_same_run(whole, tmp_path / "run")
    assert not (tmp_path / "run" / "events.jsonl").exists()  # No day is said to have changed.


def test_no_label_is_used_before_it_is_complete(whole, log, tmp_path):
    changed = copy_days(log, DAYS, tmp_path / "log")
    fill(changed, DAYS[4], 1)
    start(changed, tmp_path / "run", *LATE)
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(tmp_path / "run")[name], err_msg=name)
    fill(changed, DAYS[3], 1)
    start(changed, tmp_path / "other", *LATE)
    assert any((value != weights(tmp_path / "other")[name]).any() for name, value in weights(whole).items())


def test_a_kill_between_record_and_predictions_measures_again(whole, log, tmp_path, monkeypatch):
    growing = copy_days(log, DAYS[:4], tmp_path / "log")
    start(growing, tmp_path / "run", *LATE)
    copy_days(log, DAYS[4:], growing)
    with monkeypatch.context() as patched:
        patched.setattr(LatePredictions, "save", kill)
        with pytest.raises(KilledError):
            start(growing, tmp_path / "run", *LATE)
    start(growing, tmp_path / "run", *LATE)
    assert_same_run(whole, tmp_path / "run")
    assert LatePredictions(tmp_path / "run" / "late").days() == DAYS[4:]


class KilledError(Exception):
    pass


def kill(*_):
    raise KilledError


def test_a_late_fault_is_told_and_closes_the_gate(log, tmp_path):
    broken = copy_days(log, DAYS, tmp_path / "log")
    fill(broken, DAYS[3], 0)  # A broken join: found when the labels should be complete.
    settings = [*LATE[:2], "export.when=every_window"]
    train(load(broken, *settings), tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    (fault,) = [event for event in events if event["event"] == "late_fault"]
    assert (fault["day"], fault["window_end"]) == (str(DAYS[3]), str(DAYS[4]))
    assert "no positive" in fault["reasons"][0]
    (refused,) = [event for event in events if event["event"] == "export_refused"]
    assert refused["window_end"] == str(DAYS[4])


def test_lost_predictions_are_told(log, tmp_path):
    growing = copy_days(log, DAYS[:4], tmp_path / "log")
    start(growing, tmp_path / "run", *LATE)
    (tmp_path / "run" / "late" / f"{DAYS[3]}.npz").write_bytes(b"nothing")
    copy_days(log, DAYS[4:], growing)
    start(growing, tmp_path / "run", *LATE)
    (event,) = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert event["event"] == "late_labels_lost"
    assert "damaged" in event["reason"]
    assert clicks(tmp_path / "run", DAYS[3])["labels"] == 0


def test_a_counter_must_wait_for_the_labels(log):
    counter = "features.seen={kind: counter, by: [user_id], of: [click], delay_days: 0}"
    with pytest.raises(InputError, match=r"set features\.seen\.delay_days: 1"):
        load(log, *LATE, counter)
    load(log, *LATE, counter.replace("delay_days: 0", "delay_days: 1"))


def test_fresh_labels_are_those_known_at_the_end_of_the_day(log, tmp_path):
    """Rows are trained on their own day with what is known then, and once more when the label is complete."""
    from tfstable.data.maturity import labels_used
    from tfstable.data.window import windows
    from tfstable.inputs.targets import Targets
    from tfstable.specs import LATE, BinaryTask

    task = BinaryTask(kind="binary", matures_after_days=2, fresh={"delay_column": "delay", "late_share": 0.5})
    table = pa.table(
        {
            "//day": pa.array([day.toordinal() for day in DAYS for _ in range(4)], pa.int32()),
            "buy": pa.array([1, 1, 0, None] * 5, pa.float32()),
            "delay": pa.array([0, 1, None, None] * 5, pa.float32()),
        }
    )
    window = windows(DAYS, 1, 1, after=DAYS[3])[0]
    labels, _ = Targets({"buy": task}, None)(table, labels_used(window, {"buy": task}, DAYS))
    nan = float("nan")
    np.testing.assert_array_equal(labels["buy"].reshape(5, 4)[[2, 4]], [[1, 1, 0, nan], [1, 0, 0, nan]])
    assert np.isnan(labels["buy"].reshape(5, 4)[[0, 1, 3]]).all()
    np.testing.assert_array_equal(labels[LATE + "buy"].reshape(5, 4)[[2, 4], 0], [0, 0.5])
