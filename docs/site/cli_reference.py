"""reference/cli.md: every command with its options, from the command line itself."""

import sys
from pathlib import Path

import typer
import typer.cli
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainers.cli.app import app

HEAD = """# Command line

`tfstable COMMAND --help` prints the same. `python -m trainers` is the same program.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    command = typer.main.get_command(app)
    text = typer.cli.get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="tfstable"), name="tfstable")
    # The page has a title of its own; what is left of typer's are the commands.
    files.append(File.generated(config, "reference/cli.md", content=HEAD + text.split("\n", 1)[1].lstrip()))
    return files
