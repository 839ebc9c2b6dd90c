"""SavedModels: raw named columns in, named tasks out; numbered versions that appear whole or not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.errors import InputError
from tfstable.features import Preprocessor

METADATA = Path("assets.extra") / "tfstable.json"


def versions(directory: Path) -> list[int]:
    """Returns the numbers of the published versions, in order."""
    return sorted(int(path.name) for path in Path(directory).glob("[0-9]*") if path.name.isdigit())


def save(directory: Path, model: keras.Model, preprocessor: Preprocessor, metadata: dict[str, Any]) -> Path:
    """Writes the next version under a hidden name and returns its path; `publish` makes it visible.

    Args:
        directory: Where the versions are, `MODEL_DIR/export`.
        model: The trained model.
        preprocessor: What it was trained behind; becomes part of the signature.
        metadata: Plain values that travel with the version.
    """
    directory = Path(directory)
    partial = directory / f".{max(versions(directory), default=0) + 1}.partial"
    shutil.rmtree(partial, ignore_errors=True)

    @tf.function(input_signature=[preprocessor.signature()], autograph=False)
    def serve(raw):
        predictions = model(preprocessor(raw), training=False)
        return {name: tf.cast(value, tf.float32) for name, value in predictions.items()}

    module = tf.Module()
    # The variables alone: the Keras object would bring its training-only parts along.
    module.variables_of_model = [variable.value for variable in model.variables]
    module.preprocessor = preprocessor
    tf.saved_model.save(module, str(partial), signatures={"serving_default": serve})
    (partial / METADATA).parent.mkdir()
    (partial / METADATA).write_text(json.dumps(metadata, indent=1), encoding="utf-8")
    return partial


def publish(partial: Path) -> Path:
    """Gives a saved version its number, by one rename."""
    return partial.rename(partial.with_name(partial.name.split(".")[1]))


def metadata(version: Path) -> dict[str, Any]:
    """Returns what `save` stored beside the version."""
    try:
        return json.loads((Path(version) / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{version}: not an export of tfstable; name a version such as DIR/export/1") from None


class Serving:
    """A SavedModel as a server sees it: loaded afresh, called through `serving_default` alone.

    Args:
        version: Directory of a version.

    Attributes:
        columns: Raw columns that the signature takes, by name.
    """

    def __init__(self, version: Path):
        self.columns = {name: RawColumn(**column) for name, column in metadata(version)["columns"].items()}
        self._loaded = tf.saved_model.load(str(version))
        self._signature = self._loaded.signatures["serving_default"]

    def __call__(self, raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns each task's predictions, `(rows,)` float32, for rows of raw columns."""
        tensors = {name: tf.constant(raw[name], column.dtype) for name, column in self.columns.items()}
        return {name: value.numpy() for name, value in self._signature(**tensors).items()}
