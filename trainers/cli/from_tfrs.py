"""`tfstable from-tfrs`."""

from pathlib import Path
from typing import Annotated

import typer

from tfstable.errors import InputError
from trainers.cli.screen import console, quiet_tensorflow

MOST = 1e-5  # Largest difference of two scores of one model.


def from_tfrs(
    file: Annotated[Path, typer.Argument(help="The file that says which layer is what, or its directory.")],
) -> None:
    """Print a config for a ranking model of TensorFlow Recommenders, and compare the scores of both.

    The docs' page "From TFRS to tfstable" has the keys of the file.
    """
    from trainers.inherit.tfrs.spec import FILE, find

    if (found := find(file)) is None:
        raise InputError(f"{file}: neither a YAML file nor a directory with {FILE}")
    quiet_tensorflow()
    from trainers.inherit.tfrs.proposal import proposal
    from trainers.inherit.tfrs.scores import difference
    from trainers.inherit.tfrs.source import TfrsSource

    source = TfrsSource(found)
    text, compared = proposal(source), difference(source)
    if isinstance(compared, str):
        text = f"# Scores were not compared: {compared}.\n{text}"
    else:
        for task, value in compared.items():
            if value > MOST:
                raise InputError(
                    f"{found}: scores of {task} differ from the SavedModel's by up to {value:.2g}; correct the order "
                    "of inputs and layers, or the model computes something between them"
                )
            found_equal = (
                f"# On 10,000 random rows, scores of {task} differ from the SavedModel's by at most {value:.1g}."
            )
            text = f"{found_equal}\n{text}"
    console.file.write(text)
