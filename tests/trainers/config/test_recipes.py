"""Recipes and examples as every installation has them."""

import re
from pathlib import Path

import pytest

from tfstable.errors import InputError
from trainers.config.recipes import examples, recipe_path, recipes, shipped_text

ROOT = Path(__file__).parents[3]


def test_every_config_of_the_repository_is_a_recipe_with_a_heading():
    found = {recipe.name: recipe for recipe in recipes()}
    assert [f"{name}.yaml" for name in found] == sorted(path.name for path in (ROOT / "configs").iterdir())
    for recipe in found.values():
        lines = [line.strip("# ") for line in recipe_path(recipe.name).read_text(encoding="utf-8").splitlines()]
        assert recipe.about == lines[0]
        assert re.match(rf"tfstable \w+ --recipe {recipe.name} .*--(model-dir|out) [\w/]+$", recipe.command)
        assert f": {recipe.cost}. " in " ".join(lines)
    assert found["quickstart"].command == "tfstable train --recipe quickstart --model-dir runs/quickstart"
    assert found["quickstart"].cost == "about a minute and a half on 2 cores after installation"


def test_the_texts_are_those_of_the_repository():
    assert recipe_path("stability").read_bytes() == (ROOT / "configs/stability.yaml").read_bytes()
    assert shipped_text("kuairand") == (ROOT / "configs/kuairand.yaml").read_text(encoding="utf-8")
    assert {"mmoe.py", "mmoe.yaml", "serve.c"} <= set(examples())
    for name in examples():
        assert shipped_text(name) == (ROOT / "examples" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quikstart", "no recipe quikstart; did you mean quickstart?"),
        ("nmoe.py", "no recipe nmoe.py; did you mean mmoe.py?"),
        ("../../setup", "no recipe ../../setup; `tfstable recipe` lists the recipes"),
    ],
)
def test_a_name_that_is_none(name, expected):
    with pytest.raises(InputError) as error:
        shipped_text(name)
    assert str(error.value) == expected


def test_an_example_is_no_recipe():
    with pytest.raises(InputError, match=r"no recipe mmoe\.yaml"):
        recipe_path("mmoe.yaml")
