"""`tfstable recipe`."""

from typing import Annotated

import typer

from trainers.config.recipes import examples, recipes, shipped_text


def recipe(
    name: Annotated[str | None, typer.Argument(help="A recipe, or the file of an example. Default: list them.")] = None,
) -> None:
    """List the recipes, or print one: tfstable recipe quickstart > mine.yaml."""
    if name is not None:
        print(shipped_text(name), end="")
        return
    for each in recipes():
        print(f"{each.name}\n    {each.about}\n    {each.command}\n    Cost: {each.cost}.\n")
    print(f"Examples, printed by file name: {', '.join(examples())}")
