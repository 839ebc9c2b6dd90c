"""Every file that a run or a grid reads again, cut, flipped, emptied, replaced: all goes on, or one line names it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.commands import ROWS, complaint, train
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.files import arrays_beside, keep, recall, write_json
from tfstable.serving import export
from trainers import config as configs
from trainers.cli.versions import table
from trainers.store.checkpoints import Checkpoints
from trainers.store.params import read_config
from trainers.store.run_directory import RunDirectory


def damages(path: Path) -> Iterator[str]:
    """Damages a file in one way after the other; yields what it did. The file is whole again at the end."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    yield "half"
    path.write_bytes(b"")
    yield "empty"
    path.write_bytes(b"\xff\xfe" + whole)
    yield "not UTF-8"
    for part in range(12):
        at = part * len(whole) // 12 + len(whole) // 24
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        yield f"byte {at} flipped"
    path.unlink()
    path.mkdir()
    yield "a directory"
    path.rmdir()
    path.write_bytes(whole)


def read(path: Path) -> str | dict:
    """What the program makes of a run: its own values, or the one line."""
    try:
        config = read_config(path)
        run = RunDirectory(path, config)
        newest = run.newest()
        return {
            "config": config,
            "statistics": run.statistics(),
            "evaluations": run.evaluations(),
            "newest": newest and replace(newest, seconds=0.0, examples_per_second=0.0, evaluation_seconds=None),
            "first": run.first_day(),
            "recoveries": run.recoveries(),
        }
    except InputError as error:
        return str(error)


@pytest.mark.parametrize(
    "name", ["params.yaml", "preprocessing.json", "recovery.json", "windows/2025-01-02/metrics.json"]
)
def test_files_of_a_run(name, place, tmp_path):
    copy = shutil.copytree(place / "run", tmp_path / "run", symlinks=True)
    right = read(copy)
    assert isinstance(right, dict)
    for damage in damages(copy / name):
        said = read(copy)
        if said == right:  # A flipped blank is a blank.
            assert "flipped" in damage
            continue
        assert isinstance(said, str), (damage, said)
        assert name in said, (damage, said)
        assert "; " in said
        assert "\n" not in said
    assert read(copy) == right
    (copy / "windows" / "2025-01-02" / "metrics.json").unlink()  # The remedy that is named for a window's metrics.
    assert read(copy)["evaluations"] == []


@pytest.mark.parametrize("name", ["metrics.json", "events.jsonl"])
def test_what_is_only_written_is_in_nobodys_way(name, place, tmp_path):
    copy = shutil.copytree(place / "run", tmp_path / "run", symlinks=True)
    RunDirectory(copy, read_config(copy)).add_event("odd_day", day=date(2025, 1, 2))
    right = read(copy)
    for damage in damages(copy / name):
        assert read(copy) == right, damage


def test_each_command_says_so_in_one_line(place, tmp_path, run):
    copy = shutil.copytree(place, tmp_path / "place", symlinks=True)
    for name, by_export in (("params.yaml", True), ("preprocessing.json", False)):
        path = copy / "run" / name
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"user_id", b"user_ie", 1))
        for command in ("evaluate", "export"):
            assert str(path) in complaint(run(command, "--model-dir", copy / "run"))
        assert str(path) in complaint(train(copy, run))
        if by_export:
            assert str(path) in complaint(run("export", "--model-dir", copy / "run", "--list"))
            assert str(path) in complaint(run("export", "--model-dir", copy / "run", "--promote", "1"))
            arguments = ("compare", copy / "run", copy / "run" / "export" / "1", "--data", copy / "log")
            assert str(path) in complaint(run(*arguments))
        path.write_bytes(whole)
    path = copy / "run" / "recovery.json"
    path.write_bytes(path.read_bytes()[:50])
    assert str(path) in complaint(train(copy, run))


@pytest.mark.parametrize("name", ["about.json", "checkpoint.index", "checkpoint.data-00000-of-00001"])
def test_a_checkpoint_with_a_damaged_file_gives_way_to_the_one_before(name, tmp_path):
    variable = tf.Variable(tf.zeros([100]))
    checkpoints = Checkpoints(tmp_path, tf.train.Checkpoint(variable=variable), keep=9)
    for value in (1.0, 2.0):
        variable.assign(tf.fill([100], value))
        checkpoints.save(date(2025, 1, 1), int(value), {"figure": float("nan")}, good=True)
    for damage in damages(tmp_path / "2" / name):
        found = []
        restored = checkpoints.restore(lambda path, reason, found=found: found.append((path.name, reason)))
        if restored.number == 2:  # A flipped blank of about.json.
            assert "flipped" in damage
            assert restored.step == 2
            np.testing.assert_array_equal(variable, 2.0)
            continue
        assert [path for path, _ in found] == ["2"], damage
        assert restored.number == 1
        assert np.isnan(restored.watch["figure"])
        np.testing.assert_array_equal(variable, 1.0)
    assert checkpoints.restore(lambda *_: None).number == 2
    for each in ("1", "2"):
        (tmp_path / each / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"none of its 2 checkpoints can be read; .* --fresh"):
        checkpoints.restore(lambda *_: None)


def served(version: Path, log: Path) -> np.ndarray | str:
    try:
        serving = export.Serving(version)
        serving.warm_up()
        (units,) = [DayLog(log).units(date(2025, 1, 1))]
        (batch,) = export_rows(units, serving)
        return serving(batch)["click"]
    except InputError as error:
        return str(error)


def export_rows(units, serving):
    from tfstable.data.arrays import raw_batches

    return raw_batches(units, serving.columns)


def test_files_of_an_export(place, tmp_path):
    directory = shutil.copytree(place / "run" / "export", tmp_path / "run" / "export", symlinks=True)
    version = directory / "1"
    right = served(version, place / "log")
    assert right.shape == (ROWS,)
    files = [path for path in version.rglob("*") if path.is_file() and path.name != "MODEL_CARD.md"]
    assert len(files) == 7
    for path in files:
        for damage in damages(path):
            said = served(version, place / "log")
            if not isinstance(said, str):  # A flipped blank of the card, or a byte that no tensor of the data has.
                assert "flipped" in damage
                np.testing.assert_array_equal(said, right)
                continue
            assert str(version) in said, (path, damage, said)
            assert "\n" not in said
            if path.name == "model_card.json":
                with pytest.raises(InputError, match=path.name):
                    table(tmp_path / "run")


def test_a_damaged_version_is_not_promoted_and_does_not_keep_others_from_it(place, tmp_path, run):
    copy = shutil.copytree(place / "run", tmp_path / "run", symlinks=True)
    shutil.copytree(copy / "export" / "1", copy / "export" / "2")
    for path in sorted((copy / "export" / "1").rglob("*")):
        if path.is_file() and path.name != "MODEL_CARD.md":
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2] + b"\x00" + whole[len(whole) // 2 + 1 :])
            assert str(copy / "export" / "1") in complaint(run("export", "--model-dir", copy, "--promote", "1")), path
            path.write_bytes(whole)
            assert sorted(each.name for each in (copy / "export").iterdir()) == ["1", "2", "latest"]
    (copy / "export" / "2" / "model_card.json").write_text("{")
    status, printed, _ = run("export", "--model-dir", copy, "--promote", "1")
    assert status == 0
    assert "3: a copy of version 1" in printed
    assert (copy / "export" / "latest").resolve().name == "3"


def record(path: Path) -> tuple | str:
    try:
        return recall(path)["loss"], arrays_beside(path)["losses"].tolist()
    except InputError as error:
        return str(error)


def test_records_of_a_grid(tmp_path):
    path = tmp_path / "runs" / "one.json"
    keep(path, {"seconds": 1.0, "loss": float("nan")}, {"losses": np.arange(1000.0)})
    right = recall(path)
    assert right == {"seconds": 1.0, "loss": None}
    for file in (path, path.with_suffix(".npz")):
        for damage in damages(file):
            said = record(path)
            if isinstance(said, str):
                assert str(path) in said
                assert str(file) in said
            else:  # A flipped blank, or a digit of the time.
                assert "flipped" in damage
                assert said == (None, list(range(1000)))


# --- Formats.


def test_a_run_of_an_earlier_version(place, tmp_path, run):
    copy = shutil.copytree(place, tmp_path / "place", symlinks=True)
    (copy / "run" / "params.yaml").write_text(configs.dump(configs.load(copy / "config.yaml")))  # As it was written.
    card = copy / "run" / "export" / "1" / "model_card.json"
    old = {k: v for k, v in json.loads(card.read_text()).items() if k not in ("format", "files", "checksum")}
    write_json(card, old)
    card.write_text(
        "".join(line for line in card.read_text().splitlines(True) if "checksum" not in line).replace("},\n}", "}\n}")
    )
    for command in ("evaluate", "export"):
        said = complaint(run(command, "--model-dir", copy / "run"))
        assert "made by an earlier version of tfstable, whose runs cannot be resumed; train in another" in said
    assert "made by an earlier version" in complaint(train(copy, run))
    assert run("export", "--model-dir", copy / "run", "--list")[0] == 0
    shutil.copytree(card.parent, copy / "run" / "export" / "2")
    assert run("export", "--model-dir", copy / "run", "--promote", "1")[0] == 0
    versions = [copy / "run", copy / "run" / "export" / "1"]
    assert run("compare", *versions, "--data", copy / "log", "--day", "2025-01-03")[0] == 0
    assert train(copy, run, "--fresh", "--set", "export.when=never")[0] == 0
    assert not (copy / "run" / "export").exists()


def test_what_a_newer_version_made(place, tmp_path, run):
    copy = shutil.copytree(place, tmp_path / "place", symlinks=True)
    params = copy / "run" / "params.yaml"
    whole = params.read_text()
    params.write_text(whole.replace("format: 2", "format: 3"))
    for more in ((), ("--fresh",)):
        assert "params.yaml: written by a newer tfstable (format 3; this one reads up to 2)" in complaint(
            train(copy, run, *more)
        )
    params.write_text(whole)
    for name in ("preprocessing.json", "export/1/model_card.json"):
        path = copy / "run" / name
        path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    assert "preprocessing.json: written by a newer tfstable" in complaint(train(copy, run))
    assert "model_card.json: written by a newer tfstable" in complaint(
        run("export", "--model-dir", copy / "run", "--list")
    )
