"""Locks on directories to write in. The kernel releases a lock when its process ends, even when killed."""

import errno
import fcntl
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from tfstable.errors import InputError

LOCK = ".lock"
# Errors of file systems without locks: they exclude nobody.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_growing: dict[Path, int] = {}  # Open descriptors that hold the locks of this process's hidden directories.


@contextmanager
def locked(directory: Path, remedy: str, seconds: float = 0.5) -> Iterator[None]:
    """Holds the lock of a directory, `DIRECTORY/.lock`, inside the block; creates the directory if missing.

    It excludes processes of other hosts if the file system supports flock across hosts (NFS does from version 4 on).

    Args:
        directory: The directory.
        remedy: Advice to the user while another process holds the lock; ends the error's line.
        seconds: Time to wait for the lock.

    Raises:
        InputError: If another process holds the lock.
    """
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    path, end = directory / LOCK, time.monotonic() + seconds
    while (descriptor := _take(path)) is None:
        if time.monotonic() >= end:
            raise _in_use(directory, remedy)
        time.sleep(0.05)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # Still locked: a process that opened the file before checks that it still exists.
        os.close(descriptor)
        if made:
            with suppress(OSError):  # Removes the directory if it stayed empty.
                directory.rmdir()


def refuse_if_locked(directory: Path, remedy: str) -> None:
    """Raises an InputError if a process holds the lock of a directory; changes nothing."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(directory, remedy) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    finally:
        os.close(descriptor)


def grow(parent: Path) -> Path:
    """Makes a hidden directory, later renamed to its final name in `parent`; this process owns it until `settle`."""
    while True:
        partial = parent / f".tfstable-{uuid.uuid4().hex[:12]}.partial"
        partial.mkdir(parents=True)
        with suppress(FileNotFoundError):
            descriptor = os.open(partial, os.O_RDONLY)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(partial, descriptor):
                _growing[partial] = descriptor
                return partial
            os.close(descriptor)
        # Another process deleted it as abandoned before it was locked.


def settle(partial: Path) -> None:
    """Ends `grow`, after the directory was renamed; deletes the directory if it was not."""
    shutil.rmtree(partial, ignore_errors=True)
    if (descriptor := _growing.pop(partial, None)) is not None:
        os.close(descriptor)


def clear_abandoned(parent: Path) -> None:
    """Deletes hidden directories that dead processes left in `parent`."""
    for partial in parent.glob(".tfstable-*.partial"):
        if not re.fullmatch(r"\.tfstable-[0-9a-f]{12}\.partial", partial.name) or partial.is_symlink():
            continue
        try:
            descriptor = os.open(partial, os.O_RDONLY)
        except FileNotFoundError:  # It was renamed to its final name meanwhile.
            continue
        with suppress(OSError):  # Its process lives, or the file system has no locks.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(partial)
        os.close(descriptor)


def _take(path: Path) -> int | None:
    """Returns an open descriptor with the lock; None while another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                os.ftruncate(descriptor, 0)
                since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
                return descriptor
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        os.close(descriptor)  # Its last holder removed the file after this process opened it.


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _in_use(directory: Path, remedy: str) -> InputError:
    try:
        who = (directory / LOCK).read_text(encoding="utf-8", errors="replace").strip()[:200]
    except OSError:
        who = ""
    return InputError(f"{directory}: in use by {who or 'another process'}; {remedy}")
