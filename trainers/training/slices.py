"""Parts of a day: the rows of each common value of a column, and the rest."""

import numpy as np
import pyarrow as pa

MOST = 10  # Values of a column that are measured alone.
ENOUGH = 100  # Rows that a slice needs.
OTHER, MISSING = "other", "missing"


def slices(column: pa.ChunkedArray) -> dict[str, np.ndarray]:
    """Returns which rows of a day belong to each slice of a column.

    Args:
        column: `(rows,)` text, whole numbers or truth values; nulls are missing.

    Returns:
        `(rows,)` bool by the value's text: the commonest values with enough rows, most rows first, then by text. After
        them `other` and `missing`, if they have enough rows.
    """
    coded = column.combine_chunks().dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    names = [str(value) for value in coded.dictionary.to_pylist()]
    rows = np.bincount(codes[codes >= 0], minlength=len(names))
    missing = (codes < 0) | np.isin(codes, [code for code, name in enumerate(names) if name == ""])
    alone = [code for code, name in enumerate(names) if rows[code] >= ENOUGH and name not in (OTHER, MISSING, "")]
    alone = sorted(alone, key=lambda code: (-rows[code], names[code]))[:MOST]
    found = {names[code]: codes == code for code in alone}
    found |= {OTHER: ~np.isin(codes, alone) & ~missing, MISSING: missing}
    return {name: of_slice for name, of_slice in found.items() if np.count_nonzero(of_slice) >= ENOUGH}
