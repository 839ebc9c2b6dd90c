"""What an exported version says of its model, so that another training can start from it. Imports no TensorFlow."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfstable.errors import InputError
from tfstable.files import FORMAT, read_json, write_json
from tfstable.options import RankingOptions

if TYPE_CHECKING:
    from tfstable.models import RankingModel

PATH = "assets.extra/model.json"


def write(version: Path, model: "RankingModel") -> None:
    """Writes what a model is made from into a version's folder."""
    kind, base = (
        type(model),
        {*RankingOptions.model_fields, "features", "tasks", "statistics", "name", "dtype", "trainable"},
    )
    own = {name: value for name, value in model.get_config().items() if name not in base}
    module = "tfstable.models" if kind.__module__.startswith("tfstable.models.") else kind.__module__
    write_json(
        version / PATH,
        {
            "format": FORMAT,
            "class": f"{module}.{kind.__qualname__}",
            "class_options": json.loads(json.dumps(own, default=repr)),
            "features": {name: spec.model_dump(mode="json") for name, spec in model.feature_specs.items()},
            "tasks": {name: spec.model_dump(mode="json") for name, spec in model.task_specs.items()},
            "options": model.options.model_dump(mode="json"),
            "statistics": model.statistics.model_dump(mode="json"),
            "precision": model.dtype_policy.name,
        },
    )


def read(version: Path) -> dict[str, Any]:
    """Returns what `write` wrote, as plain values.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    path = version / PATH
    if not path.exists():
        raise InputError(f"{version}: exported by an earlier tfstable, without {PATH}; name its run instead")
    return read_json(path, "name another version, or restore this one from a backup")
