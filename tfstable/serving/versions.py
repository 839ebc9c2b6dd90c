"""Numbered versions of a model: one folder per version, which appears atomically.

TensorFlow Serving polls the directory, serves the highest number, and ignores folders without a number. So one rename
publishes a version, and a rollback copies an old version to the next number. Numbers are never reused: a server that
holds version 7 would not load another 7.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from tfstable.errors import InputError
from tfstable.files import digest, stranger, write
from tfstable.locks import clear_abandoned, grow, locked, settle
from tfstable.serving import card as cards
from tfstable.serving.card import ModelCard

#: Paths of a version's own files, for `files.stranger`.
OWN = r"[\w.]+\.pb|model_card\.json|MODEL_CARD\.md|(variables|assets|assets\.extra)/[^/@]*"
_OWN = re.compile(OWN)
_CHECKED_BY_TENSORFLOW = re.compile(r"variables/variables\.data-.*")
_DAMAGED = "publish or promote another version, or restore this one from a backup"
HIGHEST = ".highest"  # The highest number so far, once versions have been set aside.
LOCK_SECONDS = 60.0  # Publishing takes less: the slow work happens before, under the hidden name.


def versions(directory: Path) -> list[int]:
    """Returns the numbers of the published versions, in order."""
    return sorted(int(path.name) for path in Path(directory).glob("[0-9]*") if re.fullmatch("0|[1-9][0-9]*", path.name))


def resolve(version: Path) -> Path:
    """Returns the folder behind a link such as `latest`, which may move while a reader opens file after file."""
    version = Path(version)
    return version.resolve() if version.is_symlink() else version


def metadata(version: Path) -> ModelCard:
    """Returns a version's model card.

    Raises:
        InputError: If the card is missing, damaged or in a newer format.
    """
    return cards.read(Path(version))


def verify(version: Path) -> None:
    """Checks that the files of a version are unchanged since its publication.

    It skips the weights, which TensorFlow checks while loading, and versions of format 1, which have no digests.

    Raises:
        InputError: Naming the first file that changed or cannot be read.
    """
    for name, published in (metadata(version).files or {}).items():
        try:
            same = digest(Path(version) / name) == published
        except OSError as error:
            raise InputError(f"{Path(version) / name}: cannot be read ({error.strerror}); {_DAMAGED}") from None
        if not same:
            raise InputError(f"{Path(version) / name}: damaged, its checksum does not match; {_DAMAGED}")


def begin(directory: Path) -> Path:
    """Returns a new hidden folder for the next version; deletes the hidden folders of dead processes.

    End it with `publish` or `give_up`.
    """
    directory = Path(directory)
    _check_latest(directory)
    clear_abandoned(directory)
    return grow(directory)


def give_up(partial: Path) -> None:
    """Deletes a begun version instead of publishing it."""
    settle(partial)


def publish(partial: Path) -> Path:
    """Renames a hidden version to the next number; `latest` then points to it."""
    _seal(partial, metadata(partial))
    with _lock(partial.parent):
        return _appear(partial)


def promote(directory: Path, number: int, check: Callable[[Path], None] = lambda version: None) -> Path:
    """Publishes a copy of version `number` as the newest; servers load it like any new version.

    The copy's card lists the last days of the versions that it replaces as withdrawn, so that a run without new days
    does not publish them again.

    Args:
        directory: The directory of the versions.
        number: Number of the version to copy.
        check: Called with the copy's folder; raises an InputError if it must not be served.

    Raises:
        InputError: If the version does not exist, is the newest already, or is damaged.
    """
    directory = Path(directory)
    source = _promotable(directory, number)
    card = metadata(source)
    verify(source)
    partial = begin(directory)
    try:
        _copy(source, partial)
        try:
            check(partial)
        except InputError as error:
            raise InputError(str(error).replace(str(partial), str(source))) from None
        with _lock(directory):
            _promotable(directory, number)
            withdrawn: set[str] = set()
            for newer in (_readable_card(directory / str(n)) for n in versions(directory) if n > number):
                withdrawn |= {newer.window_end, *newer.withdrawn} if newer else set()
            still = tuple(sorted(withdrawn - {card.window_end}))
            _seal(partial, replace(card, promoted_from=number, withdrawn=still))
            return _appear(partial)
    finally:
        give_up(partial)  # Does nothing after a publication.


def prune(directory: Path, keep: int) -> list[int]:
    """Deletes all versions except the newest `keep` and folders with foreign files; returns the deleted numbers."""
    directory, gone = Path(directory), []
    with _lock(directory):
        for number in versions(directory)[:-keep]:
            path, hidden = directory / str(number), directory / f".{number}.old"
            if not _is_own(path):
                continue
            path.rename(hidden)  # A half-deleted version must not have a number.
            shutil.rmtree(hidden)
            gone.append(number)
        for left_over in directory.glob(".*.old"):  # Left by a process killed while pruning.
            if re.fullmatch(r"\.\d+\.old", left_over.name) and left_over.is_dir() and not left_over.is_symlink():
                shutil.rmtree(left_over)
    return gone


def set_aside(directory: Path, numbers: Sequence[int], to: Path, last: str) -> None:
    """Moves versions out of the directory, so that no server finds them; their numbers stay taken.

    `latest` then points to the newest version that is left, or is gone. A copy of an older version that took the later
    ones out of service no longer says so: models trained anew to their days may be published.

    Args:
        directory: The directory of the versions.
        numbers: Their numbers.
        to: Where they go.
        last: Last day of training of the models that stay.
    """
    directory = Path(directory)
    if not directory.is_dir():
        return
    with _lock(directory):
        write(directory / HIGHEST, f"{max([_highest(directory), *versions(directory)])}\n")
        left = [number for number in versions(directory) if number not in numbers]
        if left:
            _point_latest(directory, str(left[-1]))
        elif (latest := directory / "latest").is_symlink():
            latest.unlink()
        elif latest.is_dir() and _is_own(latest):
            shutil.rmtree(latest)
        for number in sorted(numbers, reverse=True):
            to.mkdir(parents=True, exist_ok=True)
            (directory / str(number)).rename(to / str(number))
        for number in left:
            if (card := _readable_card(directory / str(number))) and any(day > last for day in card.withdrawn):
                still = tuple(day for day in card.withdrawn if day <= last)
                cards.write(directory / str(number), replace(card, withdrawn=still))


def _highest(directory: Path) -> int:
    """The highest number that a version has had, as far as that is known of versions that were set aside."""
    try:
        return int((directory / HIGHEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _copy(source: Path, target: Path) -> None:
    """Copies a folder's content; unlike shutil.copytree, it raises the error of the file that cannot be copied."""
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_dir():
            to.mkdir()
        else:
            shutil.copyfile(path, to)


def _promotable(directory: Path, number: int) -> Path:
    known = versions(directory)
    if number not in known:
        shown = ", ".join(map(str, known)) or "none"
        raise InputError(f"{directory / str(number)}: no such version; the versions are {shown}")
    if number == known[-1]:
        raise InputError(f"{directory / str(number)}: already the newest version; servers load it")
    return directory / str(number)


def _readable_card(version: Path) -> ModelCard | None:
    """The card, or None if damaged: a damaged version must not block the publication of a healthy one."""
    try:
        return metadata(version)
    except InputError:
        return None


def _seal(partial: Path, card: ModelCard) -> None:
    """Writes the card with the digests of the files, and syncs all files to disk."""
    files = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
    checked = [name for name in files if not _CHECKED_BY_TENSORFLOW.fullmatch(name) and name not in cards.FILES]
    cards.write(partial, replace(card, files={name: digest(partial / name) for name in checked}))
    for name in {*files, *cards.FILES}:  # Else a power cut might keep the number but lose the files' content.
        with (partial / name).open("rb") as file:
            os.fsync(file.fileno())


def _lock(directory: Path) -> AbstractContextManager[None]:
    return locked(directory, "it is publishing a version; try again later", LOCK_SECONDS)


def _appear(partial: Path) -> Path:
    """Renames a version to the next number and points `latest` to it; the caller holds the lock."""
    directory = partial.parent
    _check_latest(directory)
    number = max([_highest(directory), *versions(directory)]) + 1
    while True:
        version = directory / str(number)
        try:
            partial.rename(version)
            break
        except OSError as error:  # On a file system without locks another process may take the number first.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            number += 1
    settle(partial)
    _point_latest(directory, version.name)
    return version


def _point_latest(directory: Path, name: str) -> None:
    link, latest = directory / ".latest.partial", directory / "latest"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    if latest.is_dir() and not latest.is_symlink():  # A copy tool followed the link.
        shutil.rmtree(latest)
    link.replace(latest)


def _check_latest(directory: Path) -> None:
    """Raises an InputError if `latest` is neither a link nor the copy of a version."""
    latest = directory / "latest"
    if os.path.lexists(latest) and not latest.is_symlink() and not _is_own(latest):
        raise InputError(f"{latest}: neither a link nor the copy of a version; move it away: `latest` must be a link")


def _is_own(version: Path) -> bool:
    """Whether a folder is a version and holds nothing else."""
    if version.is_symlink() or not (version / cards.JSON).is_file():
        return False
    return stranger(version, _OWN) is None
