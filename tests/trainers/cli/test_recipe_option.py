"""`--recipe NAME` in place of `--config FILE`, `tfstable recipe` and `tfstable --version`."""

from pathlib import Path

import pytest

import tfstable
from tests.trainers.commands import complaint

ROOT = Path(__file__).parents[3]
ONE = "give exactly one of --config FILE and --recipe NAME; `tfstable recipe` lists the recipes"
WITH_CONFIG = [("check",), ("train", "--model-dir", "run"), ("stability",), ("reproducibility",)]


def test_the_recipes_are_listed(run):
    status, printed, _ = run("recipe")
    assert status == 0
    assert "    tfstable stability --recipe stability --out runs/stability\n" in printed
    assert "mmoe.py" in printed.splitlines()[-1]


def test_a_recipe_is_written_as_it_is(run):
    for name in ("recipe", "quickstart"), ("recipe", "mmoe.yaml"):
        status, printed, errors = run(*name)
        assert (status, errors) == (0, "")
        folder = "examples" if name[1].endswith(".yaml") else "configs"
        assert printed == (ROOT / folder / f"{name[1].removesuffix('.yaml')}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", WITH_CONFIG)
def test_exactly_one_of_config_and_recipe(command, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint(run(*command)) == ONE
    assert complaint(run(*command, "--config", ROOT / "configs/quickstart.yaml", "--recipe", "quickstart")) == ONE
    assert complaint(run(*command, "--recipe", "stabilty")) == "no recipe stabilty; did you mean stability?"
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_is_what_is_checked(run, tmp_path):
    small = ("--set", f"data.path={tmp_path / 'log'}", "--set", "data.simulate={days: 4, rows_per_day: 60}")
    status, printed, errors = run("check", "--recipe", "quickstart", *small)
    assert (status, errors) == (0, "")
    assert "4 days, 2025-01-01 to 2025-01-04, 240 rows" in printed
    wrong = complaint(run("check", "--recipe", "quickstart", *small, "--set", "trainer.batchsize=3"))
    assert wrong.endswith("quickstart.yaml: trainer.batchsize: unknown key; did you mean batch_size?")


@pytest.mark.parametrize("name", ["stability", "reproducibility"])
def test_a_recipe_of_a_grid_is_read_as_one(name, run, tmp_path):
    arguments = (name, "--recipe", name, "--set", f"data.path={tmp_path / 'nolog'}", "--out", tmp_path / "out")
    assert complaint(run(*arguments)).startswith(f"{tmp_path / 'nolog'}: no such log directory")
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"tfstable {tfstable.__version__}\n", "")
