"""The recipes (configs/) and examples (examples/), part of every installation. Imports no TensorFlow."""

import difflib
import re
from dataclasses import dataclass
from importlib.resources import files
from itertools import takewhile
from pathlib import Path

from tfstable.errors import InputError

RECIPES = Path(str(files("trainers") / "recipes"))  # Links in the repository, folders in a wheel.
EXAMPLES = Path(str(files("trainers") / "examples"))


@dataclass(frozen=True)
class Recipe:
    """The heading of a recipe.

    Attributes:
        name: Its name, `quickstart` for configs/quickstart.yaml.
        about: Description in one sentence.
        command: The command that runs it.
        cost: Run time.
    """

    name: str
    about: str
    command: str
    cost: str


def recipes() -> list[Recipe]:
    """Returns the recipes in order of their names."""
    return [_recipe(path) for path in sorted(RECIPES.glob("*.yaml"))]


def examples() -> list[str]:
    """Returns the file names of the examples."""
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_file())


def recipe_path(name: str) -> Path:
    """Returns the file of a recipe.

    Raises:
        InputError: If the recipe does not exist.
    """
    return RECIPES / f"{_known(name, [recipe.name for recipe in recipes()])}.yaml"


def shipped_text(name: str) -> str:
    """Returns the text of a recipe, or of an example by its file name.

    Raises:
        InputError: If neither exists.
    """
    if name in examples():
        return (EXAMPLES / name).read_text(encoding="utf-8")
    _known(name, [*(recipe.name for recipe in recipes()), *examples()])
    return recipe_path(name).read_text(encoding="utf-8")


def _known(name: str, names: list[str]) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`tfstable recipe` lists the recipes"
        raise InputError(f"no recipe {name}; {hint}")
    return name


def _recipe(path: Path) -> Recipe:
    with path.open(encoding="utf-8") as file:
        lines = [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), file)]
    command = next(line for line in lines if f"--recipe {path.stem}" in line)
    _, cost = re.split(r"^Cost[^:]*: ", "\n".join(lines), maxsplit=1, flags=re.MULTILINE)
    return Recipe(path.stem, lines[0], re.split(r"\s{2,}", command)[0], " ".join(re.split(r"\.\s", cost)[0].split()))
