"""A cheap digest of a day of a log, to see whether a trained day was rewritten."""

import hashlib
import os
from datetime import date
from pathlib import Path

from tfstable.data.log import DayLog
from tfstable.errors import InputError

ENDS = 1 << 16  # Bytes read at each end of a file without a footer.
PARQUET_TAIL = 8  # Bytes: the footer's length and the magic number.


def day_digest(log: DayLog, day: date) -> str:
    """Returns a digest of the files of `day`, in reading order; their names do not count.

    Per file it covers the size and, for Parquet, the footer (schema; rows, bytes, position, minimum and maximum per
    chunk), else the first and the last 64 KiB. So it costs no more than opening the files. It misses values that change
    inside a file without changing any of these.

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
