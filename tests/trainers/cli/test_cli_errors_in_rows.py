"""The command line on values that only the rows show: `check --deep`, `train` and `predict` say one line of them."""

import contextlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import CONFIG, ROWS, complaint, complaint_lines, day, rows
from trainers.cli import app as cli


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"click": [2] * ROWS}, "tasks.click: column click holds 2; a binary label is 0, 1 or null"),
        ({"click": pa.nulls(ROWS, pa.int8())}, "tasks.click: column click has no label in the first window"),
        ({"click": [0, -1] * (ROWS // 2)}, "date=2025-01-01/part-0.parquet: 20 of its 40 rows)"),
    ],
)
def test_wrong_values_of_the_first_window(columns, expected, place, run, write):
    for number in range(3):
        write(day(place / "log", number), rows(**columns))
    arguments = ("train", "--config", place / "config.yaml", "--model-dir", place / "run")
    said = complaint(run(*arguments))
    assert expected in said
    assert said in complaint_lines(run("check", "--deep", "--config", place / "config.yaml"))
    for written in ("checkpoints", "windows", "export", "metrics.json", "preprocessing.json"):
        assert not (place / "run" / written).exists()
    assert expected in complaint(run(*arguments))  # The same again: what was left behind is not in the way.


def test_check_reads_no_values_unless_it_is_asked_to(place, run, write):
    config = ("--config", place / "config.yaml")
    status, printed, errors = run("check", "--deep", *config)
    assert (status, errors) == (0, "")
    assert printed.splitlines()[-1] == "config, columns, days, labels and values fit together"
    wrong = [2] + [0] * (ROWS - 1)
    write(day(place / "log", 1), rows(click=wrong))
    write(day(place / "log", 2), rows(click=wrong))
    status, printed, _ = run("check", *config)
    assert status == 0
    assert "labels and values were not read" in printed
    # All files' faults at once.
    assert complaint_lines(run("check", "--deep", *config)) == [
        f"tasks.click: column click holds 2; a binary label is 0, 1 or null ({day(place / 'log', n)}: 1 of its 40 rows)"
        for n in (1, 2)
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"click": [0, -1] * 20}, "column click holds -1; a binary label is 0, 1 or null (FILE: 20 of its 40 rows)"),
        ({"click": [0, 2] * 20}, "column click holds 2; a binary label is 0, 1 or null (FILE: 20 of its 40 rows)"),
        ({"click": [0, np.inf] * 20}, "column click holds inf; a binary label is 0, 1 or null (FILE: 20 of its"),
        ({"time": [-1.0, 5.0] * 20}, "tasks.time: column time holds -1; log1p needs finite labels above -1, or null"),
        ({"w": [1.0] * 39 + [-3.0]}, "data.weight: column w holds -3; a weight is finite and at least 0, or null"),
        ({"w": np.array([1.0] * 38 + [np.nan] * 2)}, "data.weight: column w holds nan; a weight is finite and at l"),
        ({"w": [1.0] * 39 + [np.inf]}, "data.weight: column w holds inf; a weight is finite and at least 0, or null"),
        ({"user_id": [0.5] * 40}, "FILE: column user_id: Float value 0.5"),
    ],
)
@pytest.mark.parametrize("number", [0, 2])
def test_a_deep_check_finds_what_training_would_refuse(columns, expected, number, place, run, write):
    right = {"time": [3.0] * ROWS, "w": [1.0] * (ROWS - 1) + [None]}
    for n in range(3):
        write(day(place / "log", n), rows(**{**right, **(columns if n == number else {})}))
    keys = ("--set", "data.weight=w", "--set", "tasks.time={kind: regression, transform: log1p}")
    (line,) = complaint_lines(run("check", "--deep", "--config", place / "config.yaml", *keys))
    assert expected.replace("FILE", str(day(place / "log", number))) in line
    if number == 0:
        assert complaint(run("train", "--config", place / "config.yaml", "--model-dir", place / "run", *keys)) == line


def test_a_deep_check_says_a_fault_of_every_file_a_few_times(place, run, write):
    for number in range(15):
        write(day(place / "log", number), rows(click=[-1] * ROWS))
    lines = complaint_lines(run("check", "--deep", "--config", place / "config.yaml"))
    assert len(lines) == 11
    assert lines[-1] == "and the same in 5 more files"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write) -> Path:
    """A run over three days, in `run` beside its log and config; its third day has ids as pandas writes them."""
    place = tmp_path_factory.mktemp("trained")
    for number in range(3):
        write(day(place / "log", number), rows())
    write(day(place / "log", 2), rows(user_id=pa.array([1.0, None] * (ROWS // 2)), note=["a", None] * (ROWS // 2)))
    (place / "config.yaml").write_text(CONFIG.replace("LOG", str(place / "log")))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["tfstable", "train", "--config", str(place / "config.yaml")])
        sys.argv += ["--model-dir", str(place / "run")]
        monkeypatch.setattr(sys, "path", sys.path[:])
        with contextlib.suppress(SystemExit):
            cli.main()
    assert (place / "run" / "export" / "1").is_dir()
    return place


def test_predict_names_what_is_wrong(trained, run, tmp_path, write):
    def predict(log: Path, *more: str):
        out = tmp_path / "out.parquet"
        arguments = ("--export", trained / "run" / "export" / "1", "--data", log, "--out", out, *more)
        said = complaint(run("predict", *arguments))
        assert list(tmp_path.glob("*out*")) == []  # Nothing, and nothing half-written.
        return said

    assert predict(trained / "log", "--keep", "date").startswith(
        "--keep date: the column date already holds each row's day"
    )
    assert "no column note; the file has" in predict(trained / "log", "--keep", "note")
    assert "no day 2024-01-01; the log has 2025-01-01 to 2025-01-03" in predict(trained / "log", "--day", "2024-01-01")
    write(day(tmp_path / "log", 0), rows(user_id=["a"] * ROWS))
    assert "part-0.parquet: column user_id has type string, expected int64" in predict(tmp_path / "log")
    write(day(tmp_path / "log", 0), rows(user_id=[0.5] * ROWS))
    assert "part-0.parquet: column user_id: Float value 0.5" in predict(tmp_path / "log")


def test_predict_reads_files_that_differ_in_type(trained, run, tmp_path):
    out = tmp_path / "new" / "out.parquet"
    status, printed, _ = run(
        *("predict", "--export", trained / "run" / "export" / "1", "--data", trained / "log"),
        *("--out", out, "--keep", "user_id,age"),
    )
    assert status == 0
    assert f"{3 * ROWS} rows" in printed
    table = pq.read_table(out)
    assert table.column_names == ["date", "user_id", "age", "click"]
    assert table["user_id"].to_pylist()[2 * ROWS :] == [1, None] * (ROWS // 2)
    np.testing.assert_array_equal(table["age"].to_numpy()[:ROWS], np.float32(rows()["age"]))  # As the model takes it.
    assert all(0 < p < 1 for p in table["click"].to_pylist())


def test_a_wrong_value_of_a_later_day_is_one_line_and_leaves_finished_windows(trained, run, tmp_path, write):
    shutil.copytree(trained, tmp_path / "place")
    place = tmp_path / "place"
    before = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    write(day(place / "log", 3), rows(click=[2] * ROWS))
    arguments = ("train", "--config", place / "config.yaml", "--model-dir", place / "run")
    said = complaint(run(*arguments, "--set", f"data.path={place / 'log'}"))
    assert said == (
        "tasks.click: column click holds 2; a binary label is 0, 1 or null "
        f"({day(place / 'log', 3)}: {ROWS} of its {ROWS} rows)"
    )
    kept = {path: path.read_bytes() for path in before if path.name != "params.yaml"}
    assert kept == {path: data for path, data in before.items() if path.name != "params.yaml"}
