"""Nulls, NaN, infinities and what overflows: NumPy, training and every signature of an export agree on them."""

import itertools
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests import reference
from tfstable.data.arrays import to_numpy
from tfstable.data.columns import raw_columns
from tfstable.data.log import DayLog
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader
from tfstable.inputs.statistics import fit
from tfstable.models import RankingModel
from tfstable.serving import export
from tfstable.serving.examples import serialize
from tfstable.serving.packing import PackedPreprocessor
from tfstable.specs import MISSING_INT, BinaryTask, NumericFeature, QuantileFeature

DAY, ROWS, TASKS = date(2025, 1, 1), 300, {"click": BinaryTask(kind="binary")}
ODD = [None, np.nan, np.inf, -np.inf, 1e300, -1e39, 0.0]


def column(rng, values, odd=()) -> list:
    """Values, a tenth of them replaced by odd ones."""
    return [odd[rng.integers(len(odd))] if odd and rng.random() < 0.1 else v for v in values.tolist()]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "float": pa.array(column(rng, rng.lognormal(3, 2, ROWS), ODD), pa.float64()),
            "single": pa.array(column(rng, rng.normal(1985, 10, ROWS), ODD[:4]), pa.float32()),
            "share": pa.array(column(rng, rng.random(ROWS) * 5e-7, ODD), pa.float64()),
            "int": pa.array(column(rng, rng.integers(-5, 90, ROWS), [None, MISSING_INT]), pa.int64()),
            "time": pa.array(column(rng, 1_735_689_600_000 + rng.integers(0, 10**8, ROWS), [None]), pa.int64()),
            "bool": pa.array(column(rng, rng.random(ROWS) < 0.3, [None]), pa.bool_()),
            "decimal": pa.array(column(rng, rng.integers(0, 99, ROWS), [None]), pa.decimal128(6, 2)),
            "constant": pa.array(column(rng, np.full(ROWS, 7.5), ODD[:4]), pa.float64()),
            "nothing": pa.nulls(ROWS, pa.float64()),
            "zeros": pa.array(column(rng, np.where(rng.random(ROWS) < 0.9, 0, rng.lognormal(size=ROWS)), ODD)),
            "click": rng.integers(0, 2, ROWS),
        }
    )


def options() -> dict[str, dict]:
    """Numeric features by their own options; the name says which."""
    every = itertools.product((False, True), (None, (-1.0, 40.0), (1.0, np.inf)), (None, 3.0), (True, False))
    return {
        f"{log1p}_{clip}_{missing}_{standardise}": {
            "log1p": log1p,
            "clip": clip,
            "missing": missing,
            "standardise": standardise,
        }
        for log1p, clip, missing, standardise in every
    }


def test_training_and_serving_transform_numbers_as_numpy_does(table, tmp_path, write):
    names = [name for name in table.column_names if name != "click"]
    features = {
        f"{name} {kind}": NumericFeature(kind="numeric", column=name, **keys)
        for name in names
        for kind, keys in options().items()
    }
    features |= {f"{name} q": QuantileFeature(kind="quantile", column=name, buckets=8) for name in names}
    path = write(tmp_path / f"date={DAY}" / "part-0.parquet", table)
    log = DayLog(tmp_path)
    columns = raw_columns(features, log.schemas(DAY))
    statistics = fit(features, TASKS, columns, [table.slice(0, 100), table.slice(100)])
    preprocessor = Preprocessor(features, statistics)
    reader = ExampleReader(log, preprocessor, statistics, TASKS)
    (packed,) = reader.batches((DAY,), ROWS, ROWS).one_pass(None)
    training, _, _ = reader.layout.unpack(packed)
    raw = {name: to_numpy(table[name], name, columns[name]) for name in names}
    packed = PackedPreprocessor(features, statistics)
    serving = tf.function(packed, input_signature=[packed.signature()], autograph=False)(
        {name: tf.constant(values) for name, values in raw.items()}
    )
    numbers = {
        name: np.where(x == MISSING_INT, np.nan, x.astype(float)) if x.dtype == np.int64 else x.astype(float)
        for name, x in raw.items()
    }
    for name, feature in features.items():
        x = numbers[feature.column]
        np.testing.assert_array_equal(training[name], serving[name].numpy(), err_msg=name)
        if isinstance(feature, QuantileFeature):
            assert training[name].tolist() == reference.bucket(x, statistics.boundaries[name])
            continue
        expected = reference.numeric(x, **options()[name.split(" ", 1)[1]])
        scale = 1e-5 * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(training[name], expected, rtol=1e-5, atol=scale, err_msg=name)
    counted = {(found.path, found.column): found.rows for found in reader.checks.infinite()}
    with np.errstate(over="ignore"):
        infinite = {(path, n): np.isinf(np.float32(table[n])).sum() for n in ("float", "single", "share", "zeros")}
        infinite[path, "constant"] = np.isinf(np.float32(table["constant"])).sum()
    assert counted == infinite


def test_every_signature_scores_an_infinite_number_as_a_missing_one(table, tmp_path):
    features = {
        "float": NumericFeature(kind="numeric"),
        "log": NumericFeature(kind="numeric", column="float", log1p=True, missing=3.0),
        "raw": NumericFeature(kind="numeric", column="single", standardise=False),
        "share": NumericFeature(kind="numeric"),
        "zeros": QuantileFeature(kind="quantile", buckets=8),
        "nothing": NumericFeature(kind="numeric"),
    }
    columns = raw_columns(features, {tmp_path / "part.parquet": table.schema})
    statistics = fit(features, TASKS, columns, [table])
    model = RankingModel(features, TASKS, statistics, units=[8])
    model.build()
    partial = export.save(
        tmp_path / "export",
        model,
        export.ModelCard(str(DAY)),
        user_columns=["single"],
        score_weights={"click": 1.0},
    )
    serving = export.Serving(partial)
    odd = np.float32([np.nan, np.inf, -np.inf, np.nan])
    for name in columns:
        known = {c: np.full(len(odd), 0.25, np.float32) for c in columns}
        scores = serving(known | {name: odd})["click"]
        assert np.isfinite(scores).all()
        assert len(set(scores.tolist())) == 1, name
        examples = tf.constant(serialize(known | {name: odd}))
        assert serving._loaded.signatures["serve_examples"](examples=examples)["click"].numpy().tolist() == list(scores)
        if name == "nothing":
            assert scores[0] == serving(known | {name: np.float32([1e6] * 4)})["click"][0]  # Held.
        ranked = [
            serving({**{c: v[:1] for c, v in known.items()}, name: odd[i : i + 1]}, "rank")["click"][0]
            for i in range(len(odd))
        ]
        assert len(set(ranked)) == 1, name
