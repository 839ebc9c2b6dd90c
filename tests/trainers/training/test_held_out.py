"""Days that a model has not seen: held out of training, evaluated afterwards, predicted beside their labels."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import CONFIG, ROWS, complaint, day, rows

DAYS = [date(2025, 1, number) for number in range(1, 6)]
UNTIL, NO_EXPORT = "data.until=2025-01-03", "export.when=never"


@pytest.fixture
def place(tmp_path, write) -> Path:
    for number in range(len(DAYS)):
        write(day(tmp_path / "log", number), rows(note=["a"] * ROWS))
    (tmp_path / "config.yaml").write_text(CONFIG.replace("LOG", str(tmp_path / "log")))
    return tmp_path


def train(run, place: Path, *overrides: str):
    options = [part for override in overrides for part in ("--set", override)]
    return run("train", "--config", place / "config.yaml", "--model-dir", place / "run", *options)


def test_days_after_until_are_held_out_until_it_is_raised(place, run):
    assert train(run, place, UNTIL, NO_EXPORT)[0] == 0
    assert sorted(path.name for path in (place / "run" / "windows").iterdir()) == ["2025-01-02", "2025-01-03"]
    last = json.loads((place / "run" / "windows" / "2025-01-03" / "metrics.json").read_text())
    assert last["eval_day"] is None

    # The newest day is new to the model, and so is the one before; the last one of training is not.
    status, printed, warned = run("evaluate", "--model-dir", place / "run")
    assert (status, warned) == (0, "")
    assert json.loads(printed)["day"] == "2025-01-05"
    assert json.loads(printed)["trained_to"] == "2025-01-03"
    assert run("evaluate", "--model-dir", place / "run", "--day", "2025-01-04")[2] == ""
    status, printed, warned = run("evaluate", "--model-dir", place / "run", "--day", "2025-01-03")
    assert status == 0
    assert json.loads(printed)["day"] == "2025-01-03"
    assert "was trained on days to 2025-01-03: 2025-01-03 is not new to it" in warned
    assert "name a later day, up to 2025-01-05" in warned

    # It goes on as if new days had come.
    assert train(run, place, "data.until=2025-01-04", NO_EXPORT)[0] == 0
    assert train(run, place, NO_EXPORT)[0] == 0
    assert len(list((place / "run" / "windows").iterdir())) == 4
    assert "hold days out: data.until" in run("evaluate", "--model-dir", place / "run")[2]
    said = complaint(train(run, place, UNTIL))
    assert said.startswith(f"data.until: {place / 'run'} was trained on days to 2025-01-05, after 2025-01-03; set")


def test_until_is_part_of_what_check_says(place, run):
    status, printed, _ = run("check", "--config", place / "config.yaml", "--set", UNTIL)
    assert status == 0
    assert "3 days, 2025-01-01 to 2025-01-03" in printed
    assert "held out by data.until: 2 days, 2025-01-04 to 2025-01-05" in printed
    for command in (["check"], ["train", "--model-dir", place / "run"]):
        arguments = [*command, "--config", place / "config.yaml", "--set"]
        said = complaint(run(*arguments, "data.until=2025-01-01"))
        assert "1 days up to 2025-01-01, fewer than trainer.window_days (2); set a later day" in said
        said = complaint(run(*arguments, "data.until=2024-12-31"))
        assert said.startswith("data.until: 2024-12-31 is before the first day of")
    assert not (place / "run").exists()


def test_labels_are_kept_beside_the_predictions(place, run):
    assert train(run, place)[0] == 0
    arguments = ["predict", "--export", place / "run" / "export" / "1", "--data", place / "log", "--out"]
    assert run(*arguments, place / "out.parquet", "--keep", "user_id,click,note", "--day", "2025-01-02")[0] == 0
    table = pq.read_table(place / "out.parquet")
    assert table.column_names == ["date", "user_id", "click_label", "note", "click"]
    np.testing.assert_array_equal(table["click_label"].to_numpy(), rows()["click"])
    assert all(0 < p < 1 for p in table["click"].to_pylist())

    said = complaint(run(*arguments, place / "none.parquet", "--keep", "date"))
    assert said == "--keep date: the column date already holds each row's day; leave it out"
    assert not (place / "none.parquet").exists()


def test_a_kept_column_has_the_name_of_a_task_and_is_none_of_its_labels(place, run, write):
    for number in range(len(DAYS)):
        write(day(place / "log", number), rows(clicked=rows()["click"]))
    assert train(run, place, "tasks.click={kind: binary, label: clicked}")[0] == 0
    arguments = ["predict", "--export", place / "run" / "export" / "1", "--data", place / "log", "--out"]
    said = complaint(run(*arguments, place / "out.parquet", "--keep", "click"))
    assert said == "--keep click: task click has that name but another label; leave click out"
    assert run(*arguments, place / "out.parquet", "--keep", "clicked")[0] == 0
    assert pq.read_table(place / "out.parquet").column_names == ["date", "clicked", "click"]
