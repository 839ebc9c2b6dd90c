"""Facts that all workers of a cluster must share, by names that users know: config, log, versions, code."""

import hashlib
import json
import secrets
import sys
import time
from contextlib import suppress
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tfstable.data.digest import day_digest
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.files import to_json, write
from trainers.config import Config
from trainers.devices.cluster import Cluster

# Config keys that may differ between machines.
OF_THE_MACHINE = {"data.path", "data.reader_threads", "data.prefetch", "trainer.start_minutes"}
STARTED = "workers.json"
SHARED_SECONDS = 60.0  # Longer than a network file system takes to show a file of another machine.
PACKAGES = ("tfstable", "tensorflow", "keras", "numpy", "pyarrow")


def shared_facts(
    config: Config, log: DayLog, cluster: Cluster, fresh: bool, from_day: date | None = None
) -> dict[str, Any]:
    """Returns the facts about a training run that must be equal on all workers, each a JSON value.

    They include each day's number of rows and `day_digest`.
    """
    facts: dict[str, Any] = {"TF_CONFIG's cluster": list(cluster.addresses), "--fresh": fresh}
    facts["--from-day"] = from_day and str(from_day)
    facts |= config_facts(config)
    for day in log.counted:
        facts[f"day {day} of the log"] = f"{log.rows(day):,} rows with digest {day_digest(log, day)}"
    facts |= {f"version of {name}": version(name) for name in PACKAGES}
    # Imported by name: this room may not import the rooms above it.
    return facts | {f"code of {name}": code_digest(import_module(name)) for name in ("tfstable", "trainers")}


def devices_and_code(model: type) -> dict[str, Any]:
    """Returns the shared facts that need TensorFlow: the number of GPUs, and the code of the model's class."""
    import tensorflow as tf

    module = sys.modules[model.__module__]
    return {
        "number of GPUs": len(tf.config.list_physical_devices("GPU")),
        f"code of {module.__name__}": code_digest(module) if getattr(module, "__file__", None) else None,
    }


def note_start(model_dir: Path, cluster: Cluster) -> str | None:
    """Writes the cluster and an id of this start to MODEL_DIR/workers.json; returns the id."""
    if cluster.workers == 1:
        return None
    start = secrets.token_hex(8)
    write(model_dir / STARTED, to_json({"start": start, "workers": list(cluster.addresses)}))
    return start


def wait_for_start(model_dir: Path, cluster: Cluster, start: str | None) -> None:
    """Waits until this worker sees what the chief's `note_start` wrote.

    Raises:
        InputError: If it does not: the worker has another directory.
    """
    end = time.monotonic() + SHARED_SECONDS
    while cluster.workers > 1:
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads((model_dir / STARTED).read_text(encoding="utf-8"))["start"] == start:
                return
        if time.monotonic() > end:
            raise InputError(f"--model-dir {model_dir}: not the chief's directory; name one that all workers share")
        time.sleep(0.2)


def config_facts(config: Config) -> dict[str, Any]:
    """Returns the values of a config by dotted key, without those that may differ between machines."""
    found = _flat(config.model_dump(mode="json", by_alias=True), "")
    return {key: value for key, value in found.items() if key not in OF_THE_MACHINE}


def code_digest(package: Any) -> str:
    """Returns a digest of a package's Python files, or of a module's file."""
    path = Path(package.__file__)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.blake2b(digest_size=6)
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _flat(value: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) and inner else {prefix + key: inner}
    return found
