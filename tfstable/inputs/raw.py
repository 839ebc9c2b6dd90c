"""Raw columns as tensors to preprocess: text, and integers of a narrow range, each value once."""

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.data.arrays import distinct, distinct_integers, keep_last, to_numpy
from tfstable.data.columns import RawColumn


def raw_values(
    table: pa.Table, columns: Mapping[str, RawColumn], whole: Collection[str] = ()
) -> tuple[dict[str, tf.Tensor], dict[str, np.ndarray]]:
    """Returns raw columns, each value once except in `whole`, and the rows' places among those values.

    Args:
        table: Rows of the log.
        columns: The columns.
        whole: Columns to return row by row.

    Returns:
        By column: its values. By column that is not returned row by row: the index of each row's value, `(rows,)` or
        `(rows, width)`; see `spread`.
    """
    raw, places = {}, {}
    for name, column in columns.items():
        if column.dtype == "string" and name not in whole:
            values, places[name] = distinct(table[name], name, column)
            raw[name] = values if column.width is None else values[:, None]  # As lists of one value.
            continue
        raw[name] = to_numpy(table[name], name, column)
        plain = column.dtype == "int64" and column.width is None and name not in whole
        if plain and (found := distinct_integers(raw[name])):
            raw[name], places[name] = found
    with tf.device("CPU:0"):
        return {name: tf.constant(x, columns[name].dtype) for name, x in raw.items()}, places


def spread(of_values: np.ndarray, places: np.ndarray, column: RawColumn) -> np.ndarray:
    """Spreads what was made of the distinct values, `(values,)` or `(values, max_values)`, to the rows."""
    if places.ndim == 1:
        return of_values.take(places, axis=0)
    width = of_values.shape[1]
    if column.keep == "last" and width < places.shape[1]:
        places = keep_last(places, len(of_values) - 1, width)
    return of_values[:, 0].take(places[:, :width])  # A list of one value has it in front.
