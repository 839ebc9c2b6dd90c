"""Numbered versions of a model: a folder each, there whole or not at all.

TensorFlow Serving polls the directory and serves the highest number; folders without a number are nothing to it. So a
version appears by one rename, a rollback is a copy of an old version under the next number, and numbers are never used
twice: a server that holds version 7 would not look at another 7.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tfstable.errors import InputError
from tfstable.serving import card as cards


def versions(directory: Path) -> list[int]:
    """Returns the numbers of the published versions, in order."""
    return sorted(int(path.name) for path in Path(directory).glob("[0-9]*") if path.name.isdigit())


def metadata(version: Path) -> dict[str, Any]:
    """Returns a version's model card."""
    try:
        return json.loads((Path(version) / cards.JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{version}: not an export of tfstable; name a version such as DIR/export/1") from None


def begin(directory: Path) -> Path:
    """Returns the hidden, absent path under which the next version is to be written."""
    directory = Path(directory)
    partial = directory / f".{max(versions(directory), default=0) + 1}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def publish(partial: Path) -> Path:
    """Gives a version that was written under its hidden path its number, by one rename; `latest` then points to it."""
    for path in partial.rglob("*"):  # Else a power cut might leave the number and not what is in the files.
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    version = partial.rename(partial.with_name(partial.name.split(".")[1]))
    link = version.with_name(".latest.partial")
    link.unlink(missing_ok=True)
    link.symlink_to(version.name)
    link.replace(version.with_name("latest"))
    return version


def promote(directory: Path, number: int) -> Path:
    """Publishes a copy of version `number` as the newest: servers load it as they would any new version.

    The card of the copy names the days of the versions that it takes the place of as withdrawn: they are not published
    again by a run that finds nothing new to train on.

    Raises:
        InputError: If there is no such version, or it is the newest already.
    """
    directory, known = Path(directory), versions(directory)
    if number not in known:
        shown = ", ".join(map(str, known)) or "none"
        raise InputError(f"{directory / str(number)}: no such version; there are {shown}")
    if number == known[-1]:
        raise InputError(f"{directory / str(number)}: the newest version already; servers have it")
    source, partial = directory / str(number), begin(directory)
    card, withdrawn = metadata(source), set()
    for newer in (metadata(directory / str(n)) for n in known if n > number):
        withdrawn |= {newer["window_end"], *newer["withdrawn"]}
    card |= {"promoted_from": number, "withdrawn": sorted(withdrawn - {card["window_end"]})}
    shutil.copytree(source, partial)
    cards.write(partial, card)
    return publish(partial)


def prune(directory: Path, keep: int) -> list[int]:
    """Deletes all versions but the newest `keep`; returns the numbers of those deleted."""
    directory = Path(directory)
    old = versions(directory)[:-keep]
    for number in old:
        hidden = directory / f".{number}.old"  # Half a version must not have a number.
        (directory / str(number)).rename(hidden)
        shutil.rmtree(hidden)
    return old
