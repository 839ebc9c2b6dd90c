"""Explains to the user why the operating system refuses a file, with a remedy. Imports no TensorFlow."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDIES = {
    **dict.fromkeys(FULL, "free some space"),
    errno.EROFS: "mount it so that it can be written, or choose another place",
    errno.EACCES: "give this user the right to it",
    errno.EPERM: "give this user the right to it",
    errno.EISDIR: "move away what is there",
    errno.ENOTDIR: "move away what is there",
    errno.EEXIST: "move away what is there",
    errno.ENOTEMPTY: "move away what is there",
    errno.ELOOP: "a link is in its place; remove it",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk fails; copy what can be read",
    errno.ESTALE: "mount its file system again",
}


def refusal(error: OSError) -> str | None:
    """Returns a line that names file, reason and remedy; None if the error does not concern a file or disk."""
    if error.errno not in _REMEDIES or (error.filename is None and error.errno not in FULL):
        return None
    filename = error.filename2 or error.filename  # Of a copy the new file.
    where = f"{filename}: " if filename is not None else ""
    return f"{where}{error.strerror}; {_REMEDIES[error.errno]}"
