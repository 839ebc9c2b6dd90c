"""What a command deletes or replaces: its own files by name, and never anything else."""

import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import complaint
from tfstable.data.day_writer import day_writer
from tfstable.errors import InputError
from tfstable.inputs.statistics import Statistics
from tfstable.serving import versions
from trainers.store.checkpoints import Checkpoints
from trainers.store.out_directory import check_out
from trainers.store.params import read_config
from trainers.store.run_directory import RunDirectory
from trainers.studies.pictures import figure_of, save


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("params", ["x: 1", "train: {lr: 0.1}\nmodel: {units: [8]}\n", "[1, 2]", "a: [", "", None])
def test_the_params_of_another_tool(params, place, run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("a")
    if params is None:
        (other / "params.yaml").mkdir()
    else:
        (other / "params.yaml").write_text(params)
    before = content(other)
    for more in ((), ("--fresh",)):
        said = complaint(run("train", "--config", place / "config.yaml", "--model-dir", other, *more))
        assert said.startswith(f"{other}: not a run of tfstable")
        assert content(other) == before


@pytest.mark.parametrize(
    "name",
    [
        *("precious.txt", ".git/config", "src/train.py", "checkpoints/notes.txt", "checkpoints/1/mine.bin"),
        *("windows/2025-01-02/plot.png", "windows/all.csv", "export/notes.md", "export/1/more.txt"),
        *("export/2024/report.txt", "tensorboard/mine.txt", "params.yaml.orig"),
    ],
)
def test_fresh_refuses_what_is_not_the_runs(name, place, tmp_path):
    copy = shutil.copytree(place / "run", tmp_path / "run", symlinks=True)
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text("mine")
    before, config = content(copy), read_config(copy)
    with pytest.raises(InputError, match="not of this run, so --fresh deletes nothing") as error:
        RunDirectory(copy, config, fresh=True)
    assert str(copy / name).startswith(str(error.value).split(": ")[0].rstrip("/"))
    assert content(copy) == before


def test_fresh_deletes_a_whole_run_and_follows_no_link(place, tmp_path):
    copy = shutil.copytree(place / "run", tmp_path / "run", symlinks=True)
    config, statistics = read_config(copy), RunDirectory(copy, read_config(copy)).statistics()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.txt").write_text("a")
    for link in (copy / "checkpoints" / "7", copy / "windows" / "2025-01-09", copy / "mine"):
        link.symlink_to(elsewhere)
        with pytest.raises(InputError, match=f"{link}: not of this run"):
            RunDirectory(copy, config, fresh=True)
        link.unlink()
    (copy / ".lock").write_text("left by one that was killed")
    through = tmp_path / "link"
    through.symlink_to(copy)
    RunDirectory(through, config, fresh=True).begin(statistics)
    assert sorted(content(copy)) == [".lock", "params.yaml", "preprocessing.json"]
    assert through.is_symlink()
    assert content(elsewhere) == {"precious.txt": b"a"}


def test_a_stranger_that_comes_after_the_check(place, tmp_path):
    copy = shutil.copytree(place / "run", tmp_path / "run", symlinks=True)
    directory = RunDirectory(copy, read_config(copy), fresh=True)
    (copy / "precious.txt").write_text("a")
    before = content(copy)
    with pytest.raises(InputError, match=r"precious\.txt"):
        directory.begin(Statistics(columns={}))
    assert content(copy) == before


def test_pruning_leaves_checkpoints_and_versions_with_something_else(place, tmp_path):
    import tensorflow as tf

    checkpoints = Checkpoints(tmp_path / "checkpoints", tf.train.Checkpoint(variable=tf.Variable(0)), keep=1)
    for number in range(4):
        checkpoints.save(date(2025, 1, 1), number, {})
        if number == 0:
            (tmp_path / "checkpoints" / "1" / "notes.txt").write_text("mine")
            (tmp_path / "checkpoints" / ".DS_Store").write_text("")
            (tmp_path / "checkpoints" / "3 best").mkdir()
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == [".DS_Store", "1", "3 best", "6"]  # 4 is given to none: something has a name that begins with 3.
    assert (tmp_path / "checkpoints" / "1" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "checkpoints" / ".DS_Store").exists()

    exports = tmp_path / "export"
    for number in (1, 2, 3):
        shutil.copytree(place / "run" / "export" / "1", exports / str(number))
    (exports / "1" / "notes.txt").write_text("mine")
    (exports / "0").symlink_to(place)
    assert versions.prune(exports, 1) == [2]
    assert sorted(path.name for path in exports.iterdir()) == ["0", "1", "3"]
    assert (place / "config.yaml").exists()


def test_latest_as_a_copy_or_as_someone_elses(place, tmp_path):
    exports = shutil.copytree(place / "run" / "export", tmp_path / "export")  # Links followed.
    assert not (exports / "latest").is_symlink()
    shutil.copytree(exports / "1", exports / "2")
    assert versions.promote(exports, 1).name == "3"
    assert (exports / "latest").resolve() == exports / "3"
    (exports / "latest").unlink()
    shutil.copytree(exports / "1", exports / "latest")
    (exports / "latest" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="latest: neither a link nor the copy of a version; move it away"):
        versions.promote(exports, 1)
    assert versions.versions(exports) == [1, 2, 3]
    assert (exports / "latest" / "notes.txt").exists()
    assert not list(exports.glob(".*"))


def test_predictions_replace_predictions_alone(place, run, tmp_path):
    version = place / "run" / "export" / "1"

    def predict(out: Path):
        return run("predict", "--export", version, "--data", place / "log", "--out", out, "--day", "2025-01-01")

    mine = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"x": [1]}), mine)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(mine)
    for out in (mine, tmp_path / "folder", tmp_path / "link", place / "config.yaml"):
        assert "does not hold tfstable's predictions" in complaint(predict(out))
    assert "inside the log" in complaint(predict(place / "log" / "date=2025-01-01" / "part-1.parquet"))
    assert pq.read_table(mine).column_names == ["x"]
    (tmp_path / ".out.parquet.partial").symlink_to(mine)
    for _ in range(2):
        assert predict(tmp_path / "out.parquet")[0] == 0
    assert pq.read_table(mine).column_names == ["x"]


def test_reports_and_pictures_replace_their_own(tmp_path):
    check_out(tmp_path / "none", "compare", ("compare.png",))
    (tmp_path / "compare.png").write_text("mine")
    with pytest.raises(InputError, match=r"compare\.png: not written by `tfstable compare`; move it away"):
        check_out(tmp_path, "compare", ("compare.png",))
    (tmp_path / "stability.json").write_text("[]")
    with pytest.raises(InputError, match=r"stability\.json: damaged, .*`tfstable stability` did not write it"):
        check_out(tmp_path, "stability", ())
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".new.png.partial").symlink_to(tmp_path / "precious")
    save(figure_of(1, 1)[0], tmp_path / "new.png")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_day_is_not_written_over_what_someone_else_keeps(tmp_path):
    hidden = tmp_path / ".writing-date=2025-01-01"
    hidden.mkdir()
    (hidden / "part-0.parquet").write_text("left by one that was killed")
    schema = pa.schema({"x": pa.int64()})
    with day_writer(tmp_path, date(2025, 1, 1), schema):
        pass
    hidden = tmp_path / ".writing-date=2025-01-02"
    hidden.mkdir()
    (hidden / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="in the way of the new day"), day_writer(tmp_path, date(2025, 1, 2), schema):
        pass
    assert (hidden / "notes.txt").exists()
