"""The --out of a command that writes a report: no foreign file is overwritten, and only one process writes."""

import os
from pathlib import Path

from tfstable.errors import InputError
from tfstable.files import read_json
from tfstable.locks import refuse_if_locked

BUSY = "wait until it ends, or choose another --out"


def check_out(out: Path, report: str, others: tuple[str, ...]) -> None:
    """Checks that a report may be written to a directory, and touches nothing.

    Args:
        out: The directory; it need not be there.
        report: Name of the report, which is written to OUT/REPORT.json before all else.
        others: Names of the other files; without our report in the directory they are foreign.

    Raises:
        InputError: If `out` is not a directory, is in use, or has a foreign file of these names.
    """
    if os.path.lexists(out) and not out.is_dir():
        raise InputError(f"--out {out}: not a directory; name one")
    refuse_if_locked(out, BUSY)
    path = out / f"{report}.json"
    if os.path.lexists(path):
        read_json(path, f"move it away if `tfstable {report}` did not write it, or choose another --out")
        return
    for name in others:
        if os.path.lexists(out / name):
            raise InputError(f"{out / name}: not written by `tfstable {report}`; move it away, or choose another --out")
