"""A cheap digest of a day of a log: whether its rows are still those that were trained."""

import hashlib
import os
from datetime import date
from pathlib import Path

from tfstable.data.log import DayLog
from tfstable.errors import InputError

ENDS = 1 << 16  # Bytes of each end of a file without a footer of its own.
PARQUET_TAIL = 8  # Bytes: the footer's length and the magic number.


def day_digest(log: DayLog, day: date) -> str:
    """Returns a digest of the files of `day`, in the order in which they are read; their names do not count.

    Of each file it takes the size and, of Parquet, the footer (schema, and of each chunk rows, bytes, position, least
    and greatest value), else the first and the last 64 KiB. So it costs no more than opening the files. It misses
    values that change inside a file while all of that stays as it is.

    Raises:
        InputError: If a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in dict.fromkeys(unit.path for unit in log.units(day)):
        try:
            digest.update(_of_file(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); write the file again") from error
    return digest.hexdigest()


def _of_file(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        if path.suffix.lower() == ".parquet":
            file.seek(max(0, size - PARQUET_TAIL))
            length = int.from_bytes(file.read(PARQUET_TAIL)[:4], "little")
            file.seek(max(0, size - PARQUET_TAIL - length))
            read = file.read()
        else:
            read = file.read(ENDS)
            file.seek(max(len(read), size - ENDS), os.SEEK_SET)
            read += file.read()
    return hashlib.blake2b(size.to_bytes(8, "little") + read, digest_size=16).digest()
