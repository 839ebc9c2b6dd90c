"""Files of given vectors, by which an embedding table starts: `pretrained: FILE`."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfstable.data.arrays import vectors
from tfstable.data.types import cast, is_list, plain
from tfstable.errors import InputError

ID, VECTOR = "id", "vector"  # Columns of a Parquet file, arrays of an .npz file.


def digest(path: Path, what: str) -> str:
    """Returns the SHA-256 of a file.

    Args:
        path: The file.
        what: The key that names it, for the message of an error.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character.
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{what}: {path} cannot be read ({reason}); name a Parquet or .npz file") from None


def read_vectors(path: Path, dim: int, dtype: str, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads ids and their vectors.

    Args:
        path: A Parquet file with columns `id` and `vector` (lists of floats), or an .npz file with arrays of these
            names, `(rows,)` and `(rows, dim)`.
        dim: Width of the table.
        dtype: Raw dtype of the feature's column: "int64" or "string".
        what: The key that names the file, for the message of an error.

    Returns:
        Ids, `(rows,)` int64 or strings, each once; vectors, `(rows, dim)` float32.

    Raises:
        InputError: If the file cannot be read, has other ids or vectors of another width, or a vector is not finite.
    """
    try:
        ids, found = _npz(path) if path.suffix == ".npz" else _parquet(path, dtype)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{what}: {path} cannot be read ({reason}); write Parquet or .npz with {ID} and {VECTOR}"
        ) from None
    if found.ndim != 2 or ids.shape != found.shape[:1] or found.dtype.kind not in "fiu":
        raise InputError(
            f"{what}: {path} has a {VECTOR} of shape {found.shape} and type {found.dtype}, expected numbers of shape "
            f"({len(ids)} ids, {dim})"
        )
    if found.shape[1] != dim:
        raise InputError(
            f"{what}: {path} has vectors of width {found.shape[1]}, the table's dim is {dim}; set dim: {found.shape[1]}"
        )
    if (ids.dtype.kind in "iu") != (dtype == "int64"):
        kinds = {"i": "integers", "u": "integers", "f": "floats"}
        raise InputError(
            f"{what}: {path} has ids that are {kinds.get(ids.dtype.kind, 'text')}, the column has "
            f"{'integers' if dtype == 'int64' else 'text'}; write ids as the log has them"
        )
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{what}: {path} has id {values[counts > 1][0]} more than once; keep one of its vectors")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not (finite := np.isfinite(found).all(axis=1)).all():
        raise InputError(f"{what}: {path}: the vector of id {ids[~finite][0]} is not finite; leave it out")
    return ids.astype(np.int64) if dtype == "int64" else ids.astype(str).astype(object), found


def _npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[ID], arrays[VECTOR]


def _parquet(path: Path, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    table = pq.ParquetFile(path).read([ID, VECTOR])  # Not by `read_table`, to which a directory's name says something.
    if missing := {ID, VECTOR} - set(table.column_names):
        raise ValueError(f"no column {min(missing)}")
    lists = table[VECTOR].combine_chunks()
    if not is_list(lists.type):
        raise ValueError(f"column {VECTOR} has type {lists.type}, expected lists of floats")
    widths = pa.compute.unique(pa.compute.list_value_length(lists)).to_pylist()
    if len(widths) > 1 or widths == [None]:
        raise ValueError(f"vectors have several widths, or some are null: {widths[:5]}")
    width = widths[0] if widths else 0
    ids = table[ID]
    if ids.null_count:
        raise ValueError(f"column {ID} has nulls")
    integers = pa.types.is_integer(plain(ids.type))
    ids = cast(ids, pa.int64() if integers else pa.string()).to_numpy()
    return (ids if integers else ids.astype(str)), vectors(cast(lists, pa.list_(pa.float32(), width)))
