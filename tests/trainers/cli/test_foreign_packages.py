"""A user's own module or package that hides one of ours is named in one line, by `tfstable` and by `python -m`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainers.commands import complaint

ROOT = Path(__file__).parents[3]
SCRIPT = "import sys; from tfstable_command import main; sys.exit(main())"  # As pip writes it into bin/tfstable.


def start(arguments: list[str], place: Path, path: list[Path]) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": ":".join(map(str, path))}
    command = [sys.executable, *arguments, "--version"]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "file"),
    [("trainers", "trainers/__init__.py"), ("trainers", "trainers.py"), ("tfstable", "tfstable/__init__.py")],
)
def test_a_foreign_package_is_named(name, file, tmp_path):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("raise RuntimeError('the foreign code ran')")
    program = tmp_path / "bin" / "tfstable"
    program.parent.mkdir()
    program.write_text(SCRIPT)
    done = start([str(program)], tmp_path, [tmp_path, ROOT])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {tmp_path / file} hides tfstable's own package {name} ({ROOT / name}); rename it, or keep its "
        "directory off PYTHONPATH and out of the directory that you start in\n"
    )


def test_python_m_names_a_foreign_tfstable_in_the_current_directory(tmp_path):
    (tmp_path / "tfstable.py").touch()
    done = start(["-m", "trainers"], tmp_path, [ROOT])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'tfstable.py'} hides tfstable's own package tfstable")


def test_a_folder_that_hides_nothing_is_let_be(tmp_path):
    """A folder without `__init__.py`, such as one that a clone makes, gives way to a package anywhere on the path."""
    (tmp_path / "tfstable").mkdir()
    (tmp_path / "trainers").mkdir()
    done = start(["-m", "trainers"], tmp_path, [tmp_path, ROOT])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tfstable ")


def test_a_model_class_in_a_foreign_trainers_is_told_the_reason(run, tmp_path, monkeypatch):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    small = ("--set", "data.path=log", "--set", "data.simulate={days: 3, rows_per_day: 60}")
    said = complaint(run("check", "--recipe", "quickstart", *small, "--set", "model.class=trainers.mine.Model"))
    assert said == (
        "model.class: trainers.mine.Model cannot be imported (No module named 'trainers.mine'); `trainers` is "
        "tfstable's own package; give yours another name"
    )
