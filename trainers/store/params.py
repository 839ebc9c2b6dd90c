"""MODEL_DIR/params.yaml: the config of a run, with the format of its directory and a checksum."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tfstable.errors import InputError
from tfstable.files import FORMAT, check_format, checksum, write
from trainers.config import Config, dump, load

SECTIONS = ("data", "features", "tasks", "model", "optimizer", "trainer", "evaluation", "export")  # Of every format.
NAME = "params.yaml"


def write_params(path: Path, config: Config) -> None:
    """Writes the config of a run at `path`."""
    text = f"format: {FORMAT}\n{dump(config)}"
    write(path, f"checksum: '{checksum(yaml.safe_load(text))}'\n{text}")


def read_params(path: Path) -> dict[str, Any]:
    """Returns the content of a run's params.yaml, of this format or format 1, as plain values.

    Raises:
        InputError: If `path` is not the params.yaml of a run of tfstable, or it is damaged or of a newer format.
    """
    no_run = f"{path.parent}: not a run of tfstable"
    if not path.exists():
        raise InputError(f"{no_run}; train one with `tfstable train`")
    if not path.is_file():
        raise InputError(f"{no_run}, its {NAME} is not a file; choose another --model-dir")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); choose another --model-dir") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(
            f"{no_run}, or a damaged one: {path} is not YAML; restore it from a backup, or choose another --model-dir"
        ) from None
    known = raw if isinstance(raw, dict) else {}
    if "format" not in known and any(section not in known for section in SECTIONS):
        raise InputError(
            f"{no_run}, or a damaged one: {path} is not as `tfstable train` writes it; choose another --model-dir"
        )
    check_format(path, known)
    if "format" in known and known.get("checksum") != checksum({k: v for k, v in known.items() if k != "checksum"}):
        raise InputError(
            f"{path}: damaged, its checksum does not match; restore it from a backup, or choose another --model-dir"
        )
    return known


def read_config(model_dir: Path, overrides: Sequence[str] = ()) -> Config:
    """Returns the config of a run that can be resumed.

    Raises:
        InputError: As `read_params`, or if the run is of format 1.
    """
    if "format" not in read_params(model_dir / NAME):
        raise InputError(
            f"{model_dir}: made by an earlier version of tfstable, whose runs cannot be resumed; train in another "
            "--model-dir (the exports of this one still work), or with --fresh, which deletes this one"
        )
    return load(model_dir / NAME, overrides)
