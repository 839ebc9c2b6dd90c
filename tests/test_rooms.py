"""The laws of the rooms: no import of a room above, and rooms without TensorFlow."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHT = [
    "tfstable",  # Its own modules: specs, errors, files and the like.
    "tfstable/calibration",
    "tfstable/data",
    "tfstable/metrics",
    "tfstable/sources",
    "trainers",
    "trainers/cli",
    "trainers/config",
    "trainers/health",
    "tfstable/inputs/statistics.py",  # `check` needs it.
    "tfstable/serving/versions.py",  # `export --list` needs it.
    "trainers/inherit/opening.py",  # A start needs it, before its workers meet.
    "trainers/training/init_config.py",
]


def _modules(place: str) -> list[str]:
    path = ROOT / place
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    assert names, place
    return [name for name in names if not name.endswith(".__main__")]  # Whose import runs the program.


def _first_heavy(*modules: str) -> str:
    """Imports modules in a fresh process; names the first after which TensorFlow or Keras is loaded."""
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = sorted({'tensorflow', 'keras'} & set(sys.modules))\n"
        "    if heavy: sys.exit(print(f'{name} imports {heavy}'))\n"
    )
    command = [sys.executable, "-c", program, *modules]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def test_light_rooms_import_no_tensorflow():
    assert _first_heavy(*[module for place in LIGHT for module in _modules(place)]) == ""


def test_a_module_that_imports_tensorflow_is_named():
    assert _first_heavy("tfstable.specs", "tfstable.inputs.layout") == (
        "tfstable.inputs.layout imports ['keras', 'tensorflow']"
    )


@pytest.mark.parametrize(
    ("file", "arrow", "broken"),
    [
        (
            "tfstable/errors.py",
            "import trainers.cli.app",
            "The programs import the library, never the other way",
        ),
        (
            "tfstable/data/shuffle.py",
            "from tfstable.inputs import moments",
            "A room of tfstable imports only rooms below it",
        ),
        (
            "trainers/health/gate.py",
            "def late():\n    from trainers.store import params",
            "A room of trainers imports only rooms below it",
        ),
        ("tfstable/data/types.py", "from tfstable.data import log", "No module imports itself in a circle"),
        ("trainers/attic/__init__.py", "", "A room of trainers imports only rooms below it"),
    ],
)
def test_an_arrow_turned_round_is_found(file, arrow, broken, tmp_path):
    for package in ("tfstable", "trainers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert _lint(tmp_path).returncode == 0
    (tmp_path / file).parent.mkdir(exist_ok=True)
    with (tmp_path / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{arrow}\n")
    done = _lint(tmp_path)
    assert done.returncode == 1
    assert f"{broken} BROKEN" in done.stdout


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )
