"""Runs over columns that the first window says nothing of, and over infinite numbers: told of, and no harm done."""

import contextlib
import json
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.trainers.launch import finish, start_workers
from trainers.cli import app as cli

CONFIG = """
data: {path: LOG}
features:
  user_id: {kind: hash, buckets: 100, dim: 4}
  late: {kind: numeric}
  late_q: {kind: quantile, column: late}
  late_word: {kind: vocabulary}
  zero: {kind: numeric}
  steady: {kind: numeric, log1p: true}
tasks: {click: {kind: binary}}
model: {units: [8]}
optimizer: {dense: {learning_rate: 0.01}}
trainer: {window_days: 2, batch_size: 64, tensorboard: false}
export: {when: last, user_columns: [user_id]}
"""
ROWS, DAYS = 600, 4


def day(log: Path, number: int) -> Path:
    return log / f"date={date(2025, 1, 1) + timedelta(number)}" / "part-0.parquet"


def rows(number: int, live: bool) -> dict:
    rng = np.random.default_rng(number)
    steady = rng.exponential(30, ROWS)
    return {
        "user_id": rng.integers(0, 50, ROWS),
        "late": rng.lognormal(8, 2, ROWS) if live else pa.nulls(ROWS),
        "late_word": rng.choice(["a", "b"], ROWS) if live else pa.nulls(ROWS),
        "zero": rng.lognormal(8, 2, ROWS) if live else np.zeros(ROWS),
        "steady": steady,
        "click": (rng.random(ROWS) < 1 / (1 + np.exp(3 - steady / 10))).astype(int),
    }


@pytest.fixture
def place(tmp_path, write) -> Path:
    for number in range(DAYS):
        write(day(tmp_path / "log", number), rows(number, live=number >= 2))
    (tmp_path / "config.yaml").write_text(CONFIG.replace("LOG", str(tmp_path / "log")))
    return tmp_path


def tfstable(capsys, *arguments: object) -> str:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["tfstable", *map(str, arguments)])
        monkeypatch.setattr(sys, "path", sys.path[:])
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            cli.main()
    printed, errors = capsys.readouterr()
    assert not errors
    return printed


def events(place: Path) -> list[dict]:
    path = place / "run" / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_features_that_start_later_are_told_of_and_held(place, capsys):
    config = ("--config", place / "config.yaml")
    printed = tfstable(capsys, "train", *config, "--model-dir", place / "run").splitlines()
    told = printed[: next(i for i, line in enumerate(printed) if line.startswith("window "))]
    null, zero = "no value in the first window", "only the value 0 in the first window"
    later = "for the whole run; if other values come later, set"
    assert told == [
        f"features.late: column late has {null}, so it is held at 0 {later} features.late.moments: [mean, deviation]",
        f"features.late_q: column late has {null}, so all its values share one bucket {later} "
        "features.late_q.boundaries: [...]",
        f"features.late_word: column late_word has {null}, so every value counts as unknown {later} "
        "features.late_word.kind: hash",
        f"features.zero: column zero has {zero}, so it is held at 0 {later} features.zero.moments: [mean, deviation]",
    ]
    assert events(place) == []  # No divergence, no rate halved.
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    assert metrics["tasks"]["click"]["auc"] > 0.7
    assert (place / "run" / "export" / "1").is_dir()
    checked = tfstable(capsys, "check", "--deep", *config).splitlines()
    assert checked[-5:-1] == told


def test_the_remedies_that_are_named_work(place, capsys):
    keys = ["late.moments=[3000, 20000]", "late_q.boundaries=[500, 3000, 12000]", "late_word={kind: hash, buckets: 9}"]
    keys += ["zero={kind: numeric, log1p: true, moments: [8, 2]}"]
    arguments = [part for key in keys for part in ("--set", f"features.{key}")]
    printed = tfstable(capsys, "check", "--deep", "--config", place / "config.yaml", *arguments)
    assert "features." not in printed
    printed = tfstable(
        capsys,
        "train",
        "--config",
        place / "config.yaml",
        "--model-dir",
        place / "run",
        *arguments,
        "--set",
        "export.when=never",
    ).splitlines()
    assert printed[0].startswith("window ")
    assert events(place) == []


def test_infinite_numbers_are_told_of_once_a_file_and_stop_nothing(place, capsys, write):
    for number in range(DAYS):
        write(day(place / "log", number), rows(number, live=True))
    for number, odd in ((0, [np.inf, -np.inf]), (3, [1e300])):
        table = rows(number, live=True)
        table["steady"][: len(odd)] = odd
        write(day(place / "log", number), table)
    arguments = ("train", "--config", place / "config.yaml", "--model-dir", place / "run")
    printed = tfstable(capsys, *arguments)
    lines = [
        f"{day(place / 'log', number)}: column steady has values that are infinite as float32; they count as missing "
        f"(rows: {count})"
        for number, count in ((0, 2), (3, 1))
    ]
    found = [
        {"event": "infinite_values", "file": str(day(place / "log", number)), "column": "steady", "count": count}
        for number, count in ((0, 2), (3, 1))
    ]
    assert [line for line in printed.splitlines() if "as float32" in line] == lines
    assert printed.index(lines[0]) < printed.index("window ")
    assert events(place) == found
    assert (place / "run" / "export" / "1").is_dir()
    checked = tfstable(capsys, "check", "--deep", *arguments[1:3])
    assert [line for line in checked.splitlines() if "as float32" in line] == lines
    # The next day's job reads files anew, and does not tell of them again.
    write(day(place / "log", DAYS), rows(DAYS, live=True))
    printed = tfstable(capsys, *arguments)
    assert "window " in printed
    assert "as float32" not in printed
    assert events(place) == found


@pytest.mark.slow
def test_of_several_workers_the_chief_alone_tells(place, write):
    table = rows(3, live=True)
    table["steady"][:3] = np.inf
    path = write(day(place / "log", 3), table)
    chief, other = (finish(process) for process in start_workers(2, place / "config.yaml", place / "run"))
    for said in (
        "features.zero: column zero has only the value 0",
        f"{path}: column steady has values that are infinite",
    ):
        assert said in chief
        assert said not in other
    assert events(place) == [{"event": "infinite_values", "file": str(path), "column": "steady", "count": 3}]
