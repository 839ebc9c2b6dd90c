"""Atomic writes of files, JSON with a checksum, and the search for foreign files in a directory."""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tfstable.errors import InputError

#: Format of run directories, checkpoints, preprocessing.json and model cards, stored under the key `format`. Files of
#: format 1 have neither this key nor a checksum.
FORMAT = 2


@contextmanager
def whole(path: Path, hidden: Path | None = None) -> Iterator[Path]:
    """Makes a file or a directory appear at `path` atomically: complete or not at all.

        with whole(path) as hidden:
            ...  # Write to `hidden`.

    If the block raises, `hidden` is deleted and `path` stays unchanged. Leftovers of a killed process at `hidden` are
    deleted first. A directory does not replace another one.

    Args:
        path: Final path, reached by one rename; its parent is created if missing.
        hidden: Path to write to, on the same file system. None: `.NAME.partial` next to `path`.

    Yields:
        `hidden`; nothing exists there yet.
    """
    hidden = hidden or path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(hidden)
    try:
        yield hidden
        hidden.replace(path)
    except BaseException:  # A full disk, or a signal. Deleting frees the space.
        _remove(hidden)
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():  # The target of a link belongs to someone else.
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Writes a file atomically and syncs it to disk."""
    with whole(path) as hidden, hidden.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def to_json(value: Any) -> str:
    """Returns JSON with plain numbers; a number that is not finite becomes null, because JSON has no NaN."""
    return json.dumps(plain(value), indent=1) + "\n"


def plain(value: Any) -> Any:
    """Converts a value to JSON types: dates become text, numbers that are not finite become null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, date):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object of JSON values and dates with its checksum, which `read_json` checks."""
    write(path, json.dumps({**value, "checksum": checksum(value)}, indent=1, default=str) + "\n")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Returns the object that `write_json` wrote, without its checksum. Files of format 1 have none to check.

    Args:
        path: The file.
        remedy: Advice to the user about a damaged file; ends the error's line.

    Raises:
        InputError: If the file cannot be read, is damaged, or is of a newer format.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: damaged, it is not JSON; {remedy}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged, it does not hold a JSON object; {remedy}")
    check_format(path, value)
    written = value.pop("checksum", None)
    if written is not None and written != checksum(value):
        raise InputError(f"{path}: damaged, its checksum does not match; {remedy}")
    return value


def check_format(path: Path, value: Mapping[str, Any]) -> None:
    """Raises an InputError if a newer tfstable wrote a file with this content."""
    known = value.get("format")
    if isinstance(known, int) and known > FORMAT:
        rest = {key: item for key, item in value.items() if key != "checksum"}
        damaged = "" if value.get("checksum") == checksum(rest) else ", or damaged"
        raise InputError(
            f"{path}: written by a newer tfstable (format {known}; this one reads up to {FORMAT}){damaged}; "
            "update tfstable"
        )


def checksum(value: Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits of the SHA-256 of an object of plain JSON values.

    Times (keys with `second` in them) are left out, so that equal runs have equal checksums.
    """
    checked = {key: item for key, item in value.items() if "second" not in str(key)}
    return hashlib.sha256(json.dumps(checked, default=str).encode()).hexdigest()[:16]


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(path: Path, record: Mapping[str, Any], arrays: dict[str, np.ndarray], compress: bool = True) -> None:
    """Writes a record as JSON at `path`, and its arrays next to it as .npz; `recall` reads both."""
    with whole(path.with_suffix(".npz")) as hidden:
        with hidden.open("xb") as file:
            (np.savez_compressed if compress else np.savez)(file, **dict[str, Any](arrays))
        made = digest(hidden)
    write_json(path, {**plain(record), "arrays": made})  # Last, because a record means that its arrays are complete.


def recall(path: Path) -> dict[str, Any]:
    """Returns the record that `keep` wrote at `path`.

    Raises:
        InputError: If it is damaged.
    """
    record = read_json(path, "remove it, then rerun the same command to repeat that run")
    del record["arrays"]
    return record


def arrays_beside(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays that `keep` wrote next to the record at `path`.

    Raises:
        InputError: If they or the record are damaged.
    """
    remedy, file = f"remove {path}, then rerun the same command to repeat that run", path.with_suffix(".npz")
    made = read_json(path, remedy)["arrays"]
    try:
        same = digest(file) == made
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {remedy}") from None
    if not same:
        raise InputError(f"{file}: damaged, its checksum does not match; {remedy}")
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files}


def stranger(directory: Path, own: re.Pattern[str]) -> Path | None:
    """Returns a path below a directory whose name the program does not write there; None if there is none.

    Links are not followed.

    Args:
        directory: The directory.
        own: Matches the program's own paths, relative to the directory. Paths of directories end in `/`, paths of links
            in `@`.
    """
    for folder, folders, files in os.walk(directory):
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            mark = "@" if path.is_symlink() else "/" if name in folders else ""
            if not own.fullmatch(path.relative_to(directory).as_posix() + mark):
                return path
    return None
