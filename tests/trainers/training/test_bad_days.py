"""Days with bad rows, files and weights: what was finished stays, and what was not begun leaves nothing."""

import json
import shutil
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import DAYS, ROWS, StoppedError, copy_days, is_model_weight, load, metrics, start, weights
from tfstable.errors import InputError
from trainers.training.check import open_log


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


def test_a_bad_value_found_while_training_is_the_error_of_the_run(whole, log, tmp_path):
    # Only reading the rows shows it: the stream ends with the reader's own error, after the windows before it.
    bad = copy_days(log, DAYS[:4], tmp_path / "log")
    path = bad / f"date={DAYS[3]}" / "part-0.parquet"
    table = pq.read_table(path)
    wrong = pa.array(np.full(ROWS, 2))
    pq.write_table(table.set_column(table.schema.get_field_index("click"), "click", wrong), path)
    with pytest.raises(InputError, match=r"tasks\.click: column click holds 2; .*part-0\.parquet: \d+ of its \d+ rows"):
        start(bad, tmp_path / "run")
    assert metrics(tmp_path / "run", DAYS[1]) == metrics(whole, DAYS[1])
    assert not list((tmp_path / "run").rglob("*partial*"))


def test_an_interrupted_simulation_is_not_taken_for_the_log(tmp_path):
    config = load(tmp_path / "log", "data.simulate={days: 2, rows_per_day: 100}")

    def interrupt(done, total, what):
        if done:
            raise StoppedError

    with pytest.raises(StoppedError):
        open_log(config, interrupt)
    assert not (tmp_path / "log").exists()
    assert open_log(config, lambda *_: None).days == [date(2025, 1, 1), date(2025, 1, 2)]


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
