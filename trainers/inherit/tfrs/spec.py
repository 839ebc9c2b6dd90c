"""The file that says which objects of a saved TFRS model are what. Imports no TensorFlow."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, FiniteFloat, ValidationError, model_validator

from tfstable.errors import InputError
from tfstable.specs import NonNegative, Spec

FILE = "tfrs.yaml"  # Its name inside a directory that --init-from names.


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _with_layers(value: Any) -> Any:
    return value if isinstance(value, dict) else {"layers": value}


Layers = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    Field(
        description="Paths of layers in the saved model, by attributes: self.towers['user'].dense is "
        "towers/user/dense. A Sequential stands for its layers."
    ),
]


class InputSpec(Spec):
    """One input of the model: its preprocessing layer and its embedding, or a number. A path alone means `layers`."""

    layers: Layers = ()
    column: str | None = Field(None, description="Column of the log. Default: the name of the input.")
    vocabulary: Path | None = Field(
        None,
        description="Text file with the lookup's values, one per line, in the order of its rows. Default: read from "
        "the SavedModel; a checkpoint does not hold them.",
    )
    type: Literal["string", "int"] | None = Field(
        None, description="Type of the column. int also for a StringLookup of numbers. Default: that of the lookup."
    )
    oov: int | None = Field(
        None, ge=0, description="Rows of unknown values. Default: as the SavedModel says; 1 with `vocabulary`."
    )
    mask: bool | None = Field(
        None, description="Whether row 0 is that of a mask token. Default: as the SavedModel says; false otherwise."
    )
    boundaries: tuple[FiniteFloat, ...] | None = Field(
        None, min_length=1, description="Boundaries of a Discretization. Default: read from the SavedModel."
    )
    hash_bins: int | None = Field(
        None, ge=1, description="Bins of a Hashing layer of text. Default: read from the SavedModel."
    )


class TaskLayers(Spec):
    """One task: the dense layers that only it has, the last with one unit."""

    kind: Literal["binary", "regression"] = Field(
        description="binary: the loss is a cross-entropy. regression: it is a mean squared error."
    )
    layers: Layers
    label: str | None = Field(None, description="Column of the log. Default: the name of the task.")


class TfrsModel(Spec):
    """What tfstable needs to know of a TFRS model, apart from its files."""

    saved_model: Path | None = Field(None, description="Directory of a SavedModel, relative to this file.")
    checkpoint: Path | None = Field(
        None,
        description="Prefix of a TensorFlow checkpoint, or a directory of them (the newest), relative to this file.",
    )
    inputs: dict[str, Annotated[InputSpec, BeforeValidator(_with_layers)]] = Field(
        min_length=1, description="Inputs by name, in the order in which the model concatenates them."
    )
    cross: Layers = ()
    bottom: Layers = ()
    tasks: dict[str, TaskLayers] = Field(min_length=1, description="Tasks by name.")
    activation: str | None = Field(
        None, description="Activation of the hidden layers. Default: as the SavedModel says; relu for a checkpoint."
    )
    diag_scale: NonNegative | None = Field(
        None, description="diag_scale of the cross layers. Default: as the SavedModel says; 0 for a checkpoint."
    )
    optimizer: str | None = Field("optimizer", description="Path of the optimizer; null: its state stays behind.")
    epsilon: NonNegative | None = Field(
        None, description="epsilon of the optimizer. Default: as the SavedModel says; 1e-7 for a checkpoint."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.saved_model is None) == (self.checkpoint is None):
            raise ValueError("give one of saved_model and checkpoint")
        return self


def find(path: Path) -> Path | None:
    """Returns the file that describes a TFRS model, if `path` is one or a directory that holds one."""
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    return path / FILE if (path / FILE).is_file() else None


def read(file: Path) -> TfrsModel:
    """Reads the file; paths in it become relative to where the process runs.

    Raises:
        InputError: If it cannot be read, with one line per wrong key.
    """
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    try:
        spec = TfrsModel.model_validate(raw)
    except ValidationError as error:
        raise InputError("\n".join(f"{file}: {_line(detail)}" for detail in error.errors())) from None

    def beside(path: Path | None) -> Path | None:
        return path and file.parent / path

    inputs = {n: i.model_copy(update={"vocabulary": beside(i.vocabulary)}) for n, i in spec.inputs.items()}
    places = {"saved_model": beside(spec.saved_model), "checkpoint": beside(spec.checkpoint)}
    return spec.model_copy(update={"inputs": inputs, **places})


def _line(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "value_error":
        return f"{key + ': ' if key else ''}{detail['msg'].removeprefix('Value error, ')}"
    if detail["type"] == "extra_forbidden":
        return f'{key}: unknown key; the page "From TFRS to tfstable" lists them'
    return f"{key}: {detail['msg']}"
