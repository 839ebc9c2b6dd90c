"""The wheel: built, installed where no checkout is, and README's quick start from an empty folder with it."""

import email
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import tfstable

ROOT = Path(__file__).parents[1]
SOURCES = ("tfstable", "trainers", "configs", "examples")
BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK_START = re.search(r"## Quick start.*?```bash\n(.*?)```", README, re.DOTALL).group(1).splitlines()


def run(command: list[str | Path], place: Path, **environment: str) -> str:
    """Runs a command without PYTHONPATH and whatever else would lead to the checkout; returns what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=place, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def pip(environment: Path, *arguments: str | Path) -> list[str | Path]:
    """The command of this environment's pip that works on another one, which needs none of its own."""
    return [sys.executable, "-m", "pip", "--python", environment / "bin/python", *arguments]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A directory with a source distribution and a wheel, built from a copy: a build leaves folders in its sources."""
    place = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        shutil.copytree(ROOT / name, place / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tfstable_command.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    venv.create(place / "venv")
    run(pip(place / "venv", "install", "--quiet", "setuptools>=77"), place)
    run([place / "venv/bin/python", "-c", BUILD], place)
    return place / "dist"


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The programs of an environment that holds the wheel alone and borrows what it needs from the one of the tests."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place)
    run(pip(place, "install", "--quiet", "--no-deps", wheel), place)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()))  # Its editable tfstable is not followed.
    return place / "bin"


def test_recipes_and_examples_are_inside(built, wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        for folder, where in (("configs", "recipes"), ("examples", "examples")):
            for path in (ROOT / folder).iterdir():
                if path.is_file():
                    assert archive.read(f"trainers/{where}/{path.name}") == path.read_bytes()
    assert {"tfstable/py.typed", "trainers/py.typed", "tfstable_command.py"} <= inside
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"tfstable", "trainers", "tfstable_command.py"}
    modules = {str(path.relative_to(ROOT)) for name in ("tfstable", "trainers") for path in (ROOT / name).rglob("*.py")}
    assert modules <= inside
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        from_source = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in inside if "dist-info" not in name} <= from_source  # So that a wheel can be built from it.


def test_the_metadata_are_complete(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Version"] == tfstable.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "The tfstable developers"
    assert "ranking" in metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier")


@pytest.mark.slow
def test_quick_start_from_an_empty_folder(installed, tmp_path):
    python = installed / "python"
    where = run([python, "-c", "import tfstable, trainers; print(tfstable.__file__, trainers.__file__)"], tmp_path)
    assert all(Path(file).is_relative_to(installed.parent) for file in where.split())
    # What the wheel asks for, in the releases that it asks for, is there. Others' complaints are not its.
    complaints = subprocess.run(pip(installed.parent, "check"), capture_output=True, text=True, check=False).stdout
    assert not [line for line in complaints.splitlines() if line.startswith("tfstable")], complaints
    (command,) = [line for line in QUICK_START if line.startswith("tfstable train")]
    small = ("--set", "data.simulate={days: 3, rows_per_day: 400}", "--set", "trainer.tensorboard=false")
    printed = run([installed / "tfstable", *command.split()[1:], *small], tmp_path)
    assert "best_auc" in printed
    assert (tmp_path / "runs/quickstart/export/1/saved_model.pb").exists()


@pytest.mark.slow
def test_the_whole_quick_start_after_an_install_from_nothing(wheel, tmp_path):
    venv.create(tmp_path / "venv")
    programs, place = tmp_path / "venv/bin", tmp_path / "empty"
    place.mkdir()
    run(pip(programs.parent, "install", "--quiet", wheel), place)
    run(pip(programs.parent, "check"), place)
    for command in QUICK_START:
        run(["bash", "-c", command], place, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert (place / "runs/quickstart/metrics.json").exists()
    assert (place / "runs/predictions.parquet").exists()
