"""Real models of TFRS 0.7.7 move over: same scores, and training goes on as it would have there."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from tests.trainers.inherit.test_start import started
from trainers import Run
from trainers.cli.app import app
from trainers.config import load
from trainers.inherit.tfrs.source import TfrsSource

pytestmark = pytest.mark.slow  # TFRS and Keras 2 take 10 s to import.

PEER = Path(__file__).with_name("peer.py")
LATER, SCORED = date(2025, 1, 1), date(2025, 1, 2)  # 20 batches of 64 rows in the order of TFRS, and 10,000 rows.
RATINGS = """
inputs:
  user_id: user_model
  movie_title: movie_model
tasks:
  rating: {kind: regression, layers: rating_model}
"""
CLICKS = """
inputs:
  timestamp_bucket: {layers: numbers/bucket_embedding, column: timestamp}
  timestamp: numbers/normalization
  age: _embeddings/age
  movie_title: _embeddings/movie_title
  user_id: _embeddings/user_id
  job: _embeddings/job
cross: CROSS
bottom: [_deep_layers/0, _deep_layers/1]
tasks:
  click: {kind: binary, layers: _logit_layer}
"""
ODD = """
inputs:
  user_id: [hashing, tables/user]
  movie_title: [movies, tables/movie]
  age: [ages, tables/age]
  hour: []
  last_title: [movies, tables/movie]
  job: [jobs, tables/job]
  user_again: {layers: [masked_hashing, tables/user_again], column: user_id}
cross: cross
tasks:
  click: {kind: binary, layers: tower}
"""
FILES = {
    "ratings": RATINGS,
    "ratings_old": RATINGS,
    "dcn": CLICKS.replace("CROSS", "_cross_layers/0"),
    "dcn_low_rank": CLICKS.replace("CROSS", "[_cross_layers/0, _cross_layers/1]"),
    "odd": ODD,
}
TRAINED_ON = [name for name in FILES if name != "odd"]  # Dropout of two programs differs.


@pytest.fixture(scope="module")
def peer(tmp_path_factory) -> Path:
    """TFRS's models with their files, its scores, and a log of the same rows."""
    folder = tmp_path_factory.mktemp("tfrs")
    quiet = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, str(PEER), str(folder)], check=True, env=os.environ | quiet)
    for name, text in FILES.items():
        (folder / name / "tfrs.yaml").write_text("saved_model: saved_model\n" + text)
    for day, part in ((LATER, "later"), (SCORED, "scored")):
        place = folder / "log" / f"date={day}"
        place.mkdir(parents=True)
        rows = dict(np.load(folder / f"{part}.npz"))
        pq.write_table(
            pa.table({name: pa.array(values.tolist()) for name, values in rows.items()}), place / "a.parquet"
        )
    return folder


def config_of(peer: Path, name: str, *overrides: str):
    """The config that `tfstable from-tfrs` prints, with the log and the batches of TFRS."""
    printed = CliRunner().invoke(app, ["from-tfrs", str(peer / name)], catch_exceptions=False).output
    path = peer / name / "config.yaml"
    path.write_text(printed[printed.index("data:") :])
    batches = ("trainer.batch_size=64", "trainer.shuffle={kind: blocks, rows: 64}", "trainer.window_days=1")
    return load(path, [f"data.path={peer / 'log'}", f"data.until={LATER}", *batches, *overrides])


def scores(predictions: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Predictions on the scale of TFRS's scores: logits, but for the model that ends with a sigmoid."""
    (values,) = (x.astype(np.float64) for x in predictions.values())
    return np.log(values / (1 - values)) if name.startswith("dcn") else values


@pytest.mark.parametrize("name", FILES)
def test_scores_of_10_000_rows_are_equal(peer, name, tmp_path):
    theirs, rows = np.load(peer / "scores.npz")[f"{name}.before"], np.load(peer / "scored.npz")
    ours = scores(started(config_of(peer, name, f"data.until={SCORED}"), tmp_path / "run").state.predict(SCORED), name)
    # Of three rows of unknown ages one is left, their mean.
    same = np.isin(rows["age"], [7, -5, 99], invert=True) if name == "odd" else np.full(len(theirs), True)
    assert len(theirs) == 10_000
    assert same.mean() > 0.85
    np.testing.assert_allclose(ours[same], theirs[same], rtol=0, atol=1e-5)
    assert theirs.std() > 0.02


@pytest.mark.parametrize("name", TRAINED_ON)
def test_training_goes_on_as_in_tfrs(peer, name, tmp_path):
    before, after = (np.load(peer / "scores.npz")[f"{name}.{when}"] for when in ("before", "after"))
    run = Run.open(config_of(peer, name), tmp_path / "run")
    run.train()
    np.testing.assert_allclose(scores(run.predict(SCORED), name), after, rtol=0, atol=1e-4)
    assert np.abs(after - before).max() > 0.1


@pytest.mark.parametrize("override", ["init.slots=false", "model.stack_tables=true"])
def test_slots_and_single_tables_matter(peer, override, tmp_path):
    """What the test above would show if slots stayed behind, or if tables shared a clipping factor."""
    run = Run.open(config_of(peer, "dcn", override), tmp_path / "run")
    run.train()
    assert np.abs(scores(run.predict(SCORED), "dcn") - np.load(peer / "scores.npz")["dcn.after"]).max() > 1e-3


@pytest.mark.parametrize("name", ["ratings", "ratings_old", "dcn"])
def test_a_checkpoint_says_the_same_once_vocabularies_are_named(peer, name, tmp_path):
    saved = TfrsSource(peer / name / "tfrs.yaml")
    spec = yaml.safe_load(FILES[name])
    for feature, values in saved.statistics.vocabularies.items():
        (tmp_path / f"{feature}.txt").write_text("\n".join(map(str, values)))
        kind = "int" if feature == "age" else "string"
        spec["inputs"][feature] = {
            "layers": spec["inputs"][feature],
            "vocabulary": f"{feature}.txt",
            "type": kind,
        }
    for feature, values in saved.statistics.boundaries.items():
        spec["inputs"][feature]["boundaries"] = values
    (tmp_path / "tfrs.yaml").write_text(
        yaml.safe_dump({"checkpoint": str(peer / name / "checkpoint"), **spec}, sort_keys=False)
    )
    found = TfrsSource(tmp_path / "tfrs.yaml")
    assert (found.features, found.options, found.shapes()) == (saved.features, saved.options, saved.shapes())
    assert found.count("iteration") == saved.count("iteration") == 60
    for path in saved.shapes():
        np.testing.assert_array_equal(found.weight(path), saved.weight(path))
        if (name, path) != ("ratings", "embeddings/tables_32"):
            np.testing.assert_array_equal(found.slot(path, "accumulator"), saved.slot(path, "accumulator"))
    assert saved.remarks == []
    if name == "ratings":  # Both its tables are called "table", and only a SavedModel says which comes first.
        assert found.slot("embeddings/tables_32", "accumulator") is None
        assert "accumulators of embeddings/tables_32 start anew" in found.remarks[0]


def test_what_does_not_move_is_said(peer):
    printed = CliRunner().invoke(app, ["from-tfrs", str(peer / "odd")], catch_exceptions=False).output
    source = TfrsSource(peer / "odd" / "tfrs.yaml")
    assert source.count("iteration") is None
    for line in (
        "inputs.age: 3 rows of unknown values become one, their mean",
        "inputs.job: missing values had a row of their own; here they share that of unknown ones",
        "no accumulators are saved: the state of the optimizer starts anew",
        "Adam starts anew: only the accumulators of Adagrad and ClippyAdagrad move over",
    ):
        assert f"# {line}.\n" in printed
    assert "optimizer:" not in printed


def test_a_wrong_order_of_inputs_is_found(peer, tmp_path):
    """Both embeddings have 32 numbers, so all shapes fit."""
    wrong = RATINGS.replace(
        "user_id: user_model\n  movie_title: movie_model", "movie_title: movie_model\n  user_id: user_model"
    )
    (tmp_path / "tfrs.yaml").write_text(f"saved_model: {peer / 'ratings' / 'saved_model'}\n{wrong}")
    result = CliRunner().invoke(app, ["from-tfrs", str(tmp_path)])
    assert result.exit_code
    assert "correct the order of inputs and layers" in str(result.exception)
