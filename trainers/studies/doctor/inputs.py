"""A feature's values day by day, beside those that it was fitted on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift
from tfstable.data.arrays import to_numpy
from tfstable.data.columns import RawColumn
from tfstable.data.types import is_list
from tfstable.inputs import quantiles
from tfstable.inputs.ids import IdMap
from tfstable.inputs.statistics import Statistics, transform
from tfstable.log_columns import feature_columns
from tfstable.specs import (
    MISSING_INT,
    Categorical,
    CounterFeature,
    Feature,
    NumericFeature,
    QuantileFeature,
    VectorFeature,
)
from trainers.studies.doctor.days import DayRows
from trainers.studies.doctor.values import ALL, IDS, Values, known_values

DECILES = 10  # Buckets of a numeric feature's stability index.


@dataclass(frozen=True)
class InputFacts:
    """A feature on a day.

    Attributes:
        missing: Share of rows without a value, or with a value missing in a crossed id.
        distinct: Number of different values; of vectors at most 2.
        only: The value, or its hash, if there is only one.
        unknown: Share of the values without a row of their own in a vocabulary or a table of `kind: id`, as it is now.
        new: Share of the values that no day read before had.
        shift: Mean of a number less the fitted one, in fitted standard deviations.
        ratio: Its standard deviation over the fitted one.
        psi: Population stability index over the quantile buckets, against the fitted days.
    """

    missing: float
    distinct: int
    only: float | None = None
    unknown: float | None = None
    new: float | None = None
    shift: float | None = None
    ratio: float | None = None
    psi: float | None = None


class Seen:
    """The ids that days so far have had, with the last day of each: all, or an even sample of them.

    Attributes:
        hashes: `(ids,)` uint64, increasing.
        last: `(ids,)` ordinal of the last day of each.
    """

    def __init__(self) -> None:
        self.hashes, self.last = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self._largest = ALL

    def add(self, day: date, values: Values) -> float | None:
        """Adds a day's values. Returns the share of them, each as often as it occurs, that no day before had."""
        values = values.up_to(self._largest)
        self._cut(values.largest)
        new = ~np.isin(values.hashes, self.hashes)
        total = values.counts.sum()
        share = float(values.counts[new].sum() / total) if total and len(self.hashes) else None
        self.last[np.isin(self.hashes, values.hashes)] = day.toordinal()
        joined = np.concatenate([self.hashes, values.hashes[new]])
        last = np.concatenate([self.last, np.full(int(new.sum()), day.toordinal())])
        order = np.argsort(joined)
        self.hashes, self.last = joined[order], last[order]
        if len(self.hashes) > IDS:
            self._cut(int(self.hashes[IDS - 1]))
        return share

    @property
    def distinct(self) -> int:
        """Number of different ids so far, estimated where not all are remembered."""
        return round(len(self.hashes) * (ALL / self._largest))

    def _cut(self, largest: int) -> None:
        kept = self.hashes <= np.uint64(largest)
        self.hashes, self.last, self._largest = self.hashes[kept], self.last[kept], largest


class Inputs:
    """Turns days, in order, into facts per feature.

    Args:
        features: Feature specs by name.
        statistics: What the run fitted.
        ids: The ids that have rows now, by table.

    Attributes:
        seen: The ids of each categorical feature, by its name.
    """

    def __init__(self, features: dict[str, Feature], statistics: Statistics, ids: Mapping[str, IdMap]):
        self._features, self._statistics = features, statistics
        self._columns = feature_columns(features)
        self._known = {
            n: known_values(n, f, statistics, ids) for n, f in features.items() if isinstance(f, Categorical)
        }
        self._boundaries = {n: np.array(b) for n, b in statistics.boundaries.items()}
        self._fitted: dict[str, np.ndarray] = {}  # Counts per bucket on the fitted days.
        self.seen = {name: Seen() for name in self._known}

    def add(self, rows: DayRows, is_fitted: bool) -> dict[str, InputFacts]:
        """Returns the facts of a day by feature; counters, which have no values of their own, have none.

        Args:
            rows: The day.
            is_fitted: Whether the statistics were fitted on it: the first such day gives numbers their deciles.
        """
        return {
            name: self._facts(name, feature, rows, is_fitted)
            for name, feature in self._features.items()
            if not isinstance(feature, CounterFeature)
        }

    def _facts(self, name: str, feature: Feature, rows: DayRows, is_fitted: bool) -> InputFacts:
        arrays = [rows.sample[column] for column in self._columns[name]]
        column = self._statistics.columns[self._columns[name][0]]
        if isinstance(feature, VectorFeature):
            x = to_numpy(arrays[0], name, column)
            missing = np.isnan(x).any(axis=1)
            known = x[~missing]
            return InputFacts(_share(missing), min(len(known), 1 + int((known != known[:1]).any())))
        if isinstance(feature, Categorical):
            ids, known = rows.ids[name], self._known[name]
            unknown = None
            if known is not None and len(ids.counts):
                unknown = float(ids.counts[~np.isin(ids.hashes, known)].sum() / ids.counts.sum())
            return InputFacts(
                missing=_share(_is_missing(arrays)),
                distinct=ids.distinct,
                only=float(ids.hashes[0]) if ids.distinct == 1 else None,
                unknown=unknown,
                new=self.seen[name].add(rows.day, ids),
            )
        x = _values(arrays[0], name, column)
        if isinstance(feature, NumericFeature) and feature.missing is not None:
            x = np.where(np.isfinite(x), x, feature.missing)
        x = x[np.isfinite(x)]
        values, missing = np.unique(x), _share(_is_missing(arrays))
        facts: dict[str, Any] = {"only": float(values[0]) if len(values) == 1 else None}
        if isinstance(feature, NumericFeature):
            x = transform(x, feature)
            mean, deviation = self._statistics.moments[name]
            facts |= {"shift": standardised_shift(x, mean, deviation), "ratio": deviation_ratio(x, deviation)}
            if name not in self._boundaries:
                self._boundaries[name] = np.array(quantiles.boundaries(x, DECILES))
        assert isinstance(feature, NumericFeature | QuantileFeature)
        counts = np.bincount(
            np.searchsorted(self._boundaries[name], x, side="right"), minlength=len(self._boundaries[name]) + 1
        )
        if is_fitted:
            self._fitted[name] = self._fitted.get(name, 0) + counts
        else:
            # Rows of one video share its numbers, so different values count, unless there are hardly any.
            draws = len(values) if len(values) > len(counts) else None
            facts["psi"] = population_stability_index(self._fitted[name], counts, draws)
        return InputFacts(missing, len(values), **facts)


def _values(array: pa.ChunkedArray, name: str, column: RawColumn) -> np.ndarray:
    """All values of a column of numbers, also those in lists, `(values,)` float64, NaN where missing."""
    array = pc.list_flatten(array) if is_list(array.type) else array
    x = to_numpy(array, name, RawColumn(dtype=column.dtype))
    return np.where(x == MISSING_INT, np.nan, x.astype(np.float64)) if column.dtype == "int64" else x.astype(np.float64)


def _is_missing(arrays: list[pa.ChunkedArray]) -> np.ndarray:
    """Whether each row has no value, or lacks one of several columns, `(rows,)` bool."""
    missing = np.zeros(len(arrays[0]), bool)
    for array in arrays:
        if is_list(array.type):
            null = pc.fill_null(pc.equal(pc.list_value_length(array), 0), True)
        elif pa.types.is_integer(array.type):
            null = pc.fill_null(pc.equal(array, MISSING_INT), True)
        elif pa.types.is_floating(array.type):
            null = pc.invert(pc.fill_null(pc.is_finite(array), False))
        else:
            null = pc.fill_null(pc.equal(array.cast(pa.string()), ""), True)
        missing |= null.to_numpy()
    return missing


def _share(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else 0.0
