"""Statistics that are fitted on pieces of a window of one column or two."""

import pyarrow as pa

from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics, fit
from tfstable.specs import BinaryTask, NumericFeature, VocabularyFeature

CLICK = {"click": BinaryTask(kind="binary")}
NAN = float("nan")
INT, FLOAT, TEXT = RawColumn(dtype="int64"), RawColumn(dtype="float32"), RawColumn(dtype="string")


def vocabulary(**keys) -> VocabularyFeature:
    return VocabularyFeature(kind="vocabulary", **keys)


def fitted(features: dict, columns: dict[str, RawColumn], *pieces: dict) -> Statistics:
    """Fits pieces of a window, with a label that is not what the test is about."""
    return fit(features, CLICK, columns, (pa.table({**p, "click": [0, *[1] * (len(p["x"]) - 1)]}) for p in pieces))


def moments(feature: NumericFeature, *pieces) -> tuple[float, float]:
    return fitted({"x": feature}, {"x": FLOAT}, *({"x": piece} for piece in pieces)).moments["x"]
