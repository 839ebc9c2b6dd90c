"""The groups of rows of a log."""

import numpy as np
import pyarrow as pa

from tfstable.specs import MISSING_INT


def group_numbers(column: pa.ChunkedArray, days: np.ndarray) -> np.ndarray:
    """Returns a number for each value of a column on each day, `(rows,)` int64; -1 for rows without a value.

    A null, an empty text, a NaN and the smallest int64 are no values.

    Args:
        column: Text or numbers.
        days: `(rows,)` the day of each row, as an ordinal.
    """
    coded = column.combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    values = coded.dictionary.to_pylist()
    known = [value is not None and value not in ("", MISSING_INT) and value == value for value in values]
    number_of = np.append(np.where(known, np.arange(len(values)), -1), -1)  # The last one is for nulls.
    numbers_of = number_of[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    _, day = np.unique(days, return_inverse=True)
    return np.where(numbers_of < 0, -1, numbers_of * (day.max(initial=0) + 1) + day).astype(np.int64)
