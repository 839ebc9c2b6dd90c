"""Logs that are not what they seem, from the command line: one line, status 2, at once where it can be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import CONFIG, complaint, day, rows
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.serving.export import Serving
from trainers import config as configs
from trainers.devices.cluster import read_cluster
from trainers.devices.workers import Workers
from trainers.training.check import check_log
from trainers.training.run import Run

ROWS = 40


def place_of(tmp_path: Path, write, days: int = 3, config: str = CONFIG) -> Path:
    for number in range(days):
        write(day(tmp_path / "log", number), rows())
    (tmp_path / "config.yaml").write_text(config.replace("LOG", str(tmp_path / "log")))
    return tmp_path


def opened(place: Path) -> tuple[configs.Config, DayLog]:
    """A config and its log, as a run has them from its start on."""
    config = configs.load(place / "config.yaml")
    log = DayLog(config.data.path)
    check_log(config, log)
    return config, log


def test_a_pipe_in_a_day_is_refused_and_not_waited_for(tmp_path, write):
    place = place_of(tmp_path, write)
    pipe = day(place / "log", 1).with_name("part-1.parquet")
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "trainers", "check", "--config", str(place / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {pipe}: cannot be read (not a regular file)")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"user_id": [float(2**53 + 1)] * ROWS}, "column user_id: 9007199254740992 is in a double column"),
        ({"user_id": pa.array([2**63 + 1] * ROWS, pa.uint64())}, "column user_id: 9223372036854775809 is beyond int64"),
        ({"user_id": [12.5] * ROWS}, "column user_id: Float value 12.5 is a fraction"),
        ({"age": pa.array([1] * ROWS, pa.timestamp("s"))}, "column age has type timestamp[ms]"),
    ],
)
def test_check_and_train_refuse_what_metadata_shows(columns, expected, tmp_path, write, run):
    place = place_of(tmp_path, write)
    write(day(place / "log", 2), rows(**columns))
    said = complaint(run("check", "--config", place / "config.yaml"))
    assert said.startswith(f"{day(place / 'log', 2)}: {expected}")
    assert complaint(run("train", "--config", place / "config.yaml", "--model-dir", place / "run")) == said
    assert not (place / "run").exists()


def test_users_of_gauc_that_are_rounded(tmp_path, write, run):
    place = place_of(tmp_path, write)
    write(day(place / "log", 2), rows(user=[2.0**60] * ROWS))
    for number in range(2):
        write(day(place / "log", number), rows(user=list(range(ROWS))))
    said = complaint(run("check", "--config", place / "config.yaml", "--set", "evaluation.gauc_column=user"))
    assert said.startswith(f"{day(place / 'log', 2)}: column user: 1152921504606846976 is in a double column")


@pytest.mark.parametrize(
    ("number", "damage", "reason"),
    [
        (2, lambda path: pq.write_table(pa.table(rows()).slice(5), path), "was rewritten since the start"),
        (3, lambda path: pq.write_table(pa.concat_tables([pa.table(rows())] * 2), path), "was rewritten since"),
        (3, lambda path: pq.write_table(pa.table(rows()).drop(["age"]), path), "no column age"),
        (2, lambda path: path.unlink(), "cannot be read ("),
    ],
    ids=["shorter", "longer, evaluated alone", "another schema, evaluated alone", "gone"],
)
def test_a_file_that_changes_during_a_run_is_named(number, damage, reason, tmp_path, write):
    place = place_of(tmp_path, write, days=4)
    config, log = opened(place)
    path = day(place / "log", number)
    damage(path)
    checked = Workers(read_cluster("one_device"), 1.0)  # As the command line has checked the log by now.
    with pytest.raises(InputError) as error:
        Run(config, place / "run", log, workers=checked).train()
    assert str(error.value).startswith(f"{path}: {reason}"), error.value
    assert "\n" not in str(error.value)


def test_what_a_served_request_says_is_what_training_read(tmp_path):
    """CSV texts that many readers take for missing or for numbers, trained on and served: predictions agree."""
    words = np.array(["NA", "null", "NaN", "00012", "true", "1990-01-02", "08:30", ""])
    rng = np.random.default_rng(0)
    for number in range(3):
        path = day(tmp_path / "log", number).with_suffix(".csv")
        path.parent.mkdir(parents=True)
        picked = rng.integers(0, len(words), 400)
        clicks = rng.random(400) < np.linspace(0.05, 0.95, len(words))[picked]
        lines = (f"{words[i]},{str(bool(click)).lower()},{i}\n" for i, click in zip(picked, clicks, strict=True))
        path.write_text("word,click,number\n" + "".join(lines))
    (tmp_path / "config.yaml").write_text(
        f"data: {{path: {tmp_path / 'log'}}}\n"
        "features:\n  word: {kind: vocabulary, dim: 4}\n  hashed: {kind: hash, buckets: 1000, dim: 4, column: word}\n"
        "tasks: {click: {kind: binary}}\nmodel: {units: [8]}\nexport: {gate: null}\n"
        "trainer: {window_days: 2, batch_size: 32, passes: 5, tensorboard: false}\n"
    )
    config, log = opened(tmp_path)
    Run(config, tmp_path / "run", log).train()
    assert sorted(Serving(tmp_path / "run" / "export" / "1").columns) == ["word"]
    served = Serving(tmp_path / "run" / "export" / "1")({"word": words.astype(object)})["click"]
    assert len(set(np.round(served, 6))) == len(words)  # None is taken for missing, none for another.
    assert np.corrcoef(served, np.linspace(0.05, 0.95, len(words)))[0, 1] > 0.9


def test_predict_reads_what_training_reads(tmp_path, write, run):
    place = place_of(tmp_path, write, days=3)
    config, log = opened(place)
    Run(config, place / "run", log).train()
    table = pa.table(rows())
    ids, cities = table["user_id"].to_pylist(), table["city"].to_pylist()
    layouts = {
        "decimal, bytes": {
            "user_id": pa.array(ids, pa.decimal128(12, 0)),
            "city": pa.array([c.encode() for c in cities]),
        },
        # Parquet has no string views in releases of pyarrow before 19.
        "unsigned, views": {
            "user_id": pa.array(ids, pa.uint64()),
            "city": pa.array(cities, pa.string() if pa.__version__ < "19" else pa.string_view()),
        },
        "floats, dictionary": {"user_id": pa.array(ids, pa.float64()), "city": pa.array(cities).dictionary_encode()},
    }
    predicted = []
    for name, columns in {"as trained": {}, **layouts}.items():
        shutil.rmtree(place / "other", ignore_errors=True)
        write(day(place / "other", 0), rows(**columns))
        out = place / f"{name}.parquet"
        command = ("predict", "--export", place / "run" / "export" / "1", "--data", place / "other", "--out", out)
        assert run(*command, "--keep", "user_id,city")[0] == 0
        predicted.append(pq.read_table(out)["click"].to_pylist())
        assert pq.read_table(out)["city"].to_pylist() == cities
    assert predicted == [predicted[0]] * len(predicted)
    write(day(place / "other", 0), rows(user_id=[2.0**60] * ROWS))
    assert "column user_id: 1152921504606846976 is in" in complaint(run(*command))
