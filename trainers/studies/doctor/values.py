"""Values of ids as hashes, so that those of different days and columns can be counted and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.data.types import cast, is_list
from tfstable.inputs.ids import IdMap
from tfstable.inputs.statistics import Statistics, table_name
from tfstable.specs import MISSING_INT, Feature, VocabularyFeature

IDS = 1_000_000  # Most values held of a column. Of more, those of the smallest hashes stand for all: an even sample.
ALL = 2**64 - 1  # The largest hash.


@dataclass(frozen=True)
class Values:
    """Distinct values, each with the number of times that it occurs.

    Attributes:
        hashes: `(values,)` uint64, increasing.
        counts: `(values,)` int64.
        largest: Largest hash of a value that would be here.
    """

    hashes: np.ndarray
    counts: np.ndarray
    largest: int = ALL

    @property
    def distinct(self) -> int:
        """Number of different values, estimated where not all are here."""
        return round(len(self.hashes) * (ALL / self.largest))

    @classmethod
    def of(cls, parts: Sequence["Values"]) -> "Values":
        """Returns the values of several parts as one, at most `IDS` of them."""
        hashes, places = np.unique(np.concatenate([part.hashes for part in parts]), return_inverse=True)
        counts = np.bincount(places, np.concatenate([part.counts for part in parts]), len(hashes)).astype(np.int64)
        largest = min(part.largest for part in parts)
        if len(hashes) > IDS:
            largest = min(largest, int(hashes[IDS - 1]))
        return cls(hashes, counts).up_to(largest)

    def up_to(self, largest: int) -> "Values":
        """Returns the values of hashes up to `largest`."""
        end = int(np.searchsorted(self.hashes, np.uint64(largest), side="right"))
        return Values(self.hashes[:end], self.counts[:end], min(self.largest, largest))


def values(columns: Sequence[pa.Array], delimiter: str | None) -> Values:
    """Counts the known values of an id's column, or the combinations of several columns.

    Args:
        columns: Arrays of integers or text; one may hold lists, or text to split at `delimiter`.
        delimiter: Splits text into values.
    """
    if len(columns) > 1:
        hashes, known = _combined([_coded(column) for column in columns])
        return Values(*np.unique(hashes[known], return_counts=True))
    (column,) = columns
    if delimiter is not None:
        column = pc.split_pattern(cast(column, pa.string()), delimiter)
    distinct, places = _coded(pc.list_flatten(column) if is_list(column.type) else column)
    counts = np.bincount(places[places >= 0], minlength=len(distinct))
    return Values.of([Values(distinct[counts > 0], counts[counts > 0])])


def known_values(name: str, feature: Feature, statistics: Statistics, ids: Mapping[str, IdMap]) -> np.ndarray | None:
    """Returns the hashes of the values that have a row of their own in the feature's table, increasing.

    Args:
        name, feature: The feature.
        statistics: What the run fitted.
        ids: The ids that have rows now, by table.

    Returns:
        None for a hashed table, which has a row for any value.
    """
    table = table_name(name, feature)
    if table in ids:
        return np.unique(_hashed(ids[table].mapped()[0]))
    if isinstance(feature, VocabularyFeature):
        return np.unique(_hashed(pa.array(statistics.vocabularies[table])))
    return None


def _coded(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of the distinct values, uint64, and the place of each value among them; -1 where it is missing."""
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    missing = "" if pa.types.is_string(coded.type.value_type) else MISSING_INT
    place_of = np.arange(len(coded.dictionary) + 1)
    place_of[-1] = -1
    place_of[:-1][pc.equal(coded.dictionary, missing).to_numpy(zero_copy_only=False)] = -1
    places = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    return _hashed(coded.dictionary), place_of[places]


def _hashed(distinct: pa.Array) -> np.ndarray:
    """Hashes of integers or texts, uint64."""
    return pd.util.hash_array(distinct.to_numpy(zero_copy_only=False), categorize=False)


def _combined(columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The hash of each row's combination, and whether all of its values are known."""
    joined, known = np.zeros(len(columns[0][1]), np.uint64), np.ones(len(columns[0][1]), bool)
    for hashes, places in columns:
        joined = pd.util.hash_array(joined * np.uint64(31) + np.append(hashes, np.uint64(0))[places])
        known &= places >= 0
    return joined, known
