"""Who may write in a directory: locks that the kernel gives back when their process ends, however it ends."""

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
# A file system without locks: nothing can be known, and nobody is kept out.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_growing: dict[Path, int] = {}  # Open descriptors, each with the lock of a hidden directory of this process.


@contextmanager
def locked(directory: Path, remedy: str, seconds: float = 0.5) -> Iterator[None]:
    """Holds the lock of a directory, `DIRECTORY/.lock`, inside the block; makes the directory if it is not there.

    Processes of other hosts are kept out if the file system has flock across hosts (NFS from version 4 on has it).

    Args:
        directory: The directory.
        remedy: What the user can do while another process holds the lock; ends the error's line.
        seconds: How long to wait for it.

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
        path.unlink(missing_ok=True)  # While it is held: who opened it before looks again whether it is still there.
        os.close(descriptor)
        if made:
            with suppress(OSError):  # Nothing came of it.
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
    """Makes a hidden directory for what is to appear in `parent` by a rename; it is this process's until `settle`."""
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
        # Another process took it for one that was left, in the moment before it was locked.


def settle(partial: Path) -> None:
    """Ends what `grow` began: the directory was renamed, or is given up and deleted."""
    shutil.rmtree(partial, ignore_errors=True)
    if (descriptor := _growing.pop(partial, None)) is not None:
        os.close(descriptor)


def clear_abandoned(parent: Path) -> None:
    """Deletes what processes that are gone have left of `grow` in `parent`."""
    for partial in parent.glob(".tfstable-*.partial"):
        if not re.fullmatch(r"\.tfstable-[0-9a-f]{12}\.partial", partial.name) or partial.is_symlink():
            continue
        try:
            descriptor = os.open(partial, os.O_RDONLY)
        except FileNotFoundError:  # It has appeared under its name since.
            continue
        with suppress(OSError):  # Its process lives, or nothing can be known.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(partial)
        os.close(descriptor)


def _take(path: Path) -> int | None:
    """Returns an open descriptor with the lock; None while another process has it."""
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
        os.close(descriptor)  # Its last holder has removed the file since it was opened.


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
