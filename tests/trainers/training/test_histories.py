"""Histories in a run with all other kinds of input: training, exports that agree, exact resume, `check`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import DAYS, ROWS, StoppedError, StoppingReport, assert_same_run, begun, train
from tests.trainers.runs import load as load_config
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.serving.export import Serving
from tfstable.sources.simulate import simulate
from tfstable.specs import MISSING_INT

SET = (
    "features.seen={kind: hash, buckets: 300, dim: 4, table: video_id, max_values: 4}",
    "features.gap={kind: quantile, buckets: 4, dim: 4, max_values: 4}",
    "model.sequences.watched={features: [seen, gap], query: [video_id], units: [8]}",
    "model.sequences.user={features: [seen], query: [video_id, user_id], attention: decoder, units: [8], heads: 2}",
    "features.of_video={kind: counter, by: [video_id], of: [click], buckets: 500}",
    "features.of_user={kind: counter, by: [user_id], of: [click, watch_time], half_life_days: 2, buckets: 500}",
    "features.pair={kind: hash, columns: [user_id, video_id], buckets: 300, dim: 4, rate: 0.5}",
    "features.text={kind: vector, width: 3, projection: 2}",
    "export.user_columns=[user_id, seen, gap]",
    "export.when=every_window",
)


def load(log: Path, *overrides: str):
    return load_config(log, *SET, *overrides)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A simulated log whose rows have a history each, the same for all rows of a user: some empty, some cut."""
    path = tmp_path_factory.mktemp("histories") / "log"
    simulate(path, days=4, rows_per_day=ROWS, users=200, videos=100)
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(0, 7, 199), 0]
    seen = [rng.integers(0, 100, n).tolist() for n in lengths]
    gaps = [rng.exponential(10.0, n).round(1).tolist() for n in lengths]
    for file in path.glob("date=*/*.parquet"):
        table = pq.read_table(file)
        users = [user % 200 for user in table["user_id"].to_pylist()]
        table = table.append_column("seen", pa.array([seen[user] for user in users], pa.list_(pa.int64())))
        text = pa.array(rng.normal(size=(table.num_rows, 3)).tolist())
        table = table.append_column("text", text)
        pq.write_table(table.append_column("gap", pa.array([gaps[user] for user in users])), file)
    return path


@pytest.fixture(scope="module")
def run(log, tmp_path_factory) -> Path:
    """A finished run: every version in it has predicted a whole day as the trainer did, `rank` too."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(load(log), path)
    return path


def test_rank_is_serving_default_with_the_users_history_repeated(run, log):
    serving = Serving(run / "export" / "latest")
    assert set(serving.signatures) == {"serving_default", "serve_examples", "rank"}
    assert serving.columns["seen"].width == 4
    raw = next(raw_batches(DayLog(log).units(DAYS[-2]), serving.columns))
    full = (raw["seen"] != MISSING_INT).all(axis=1)
    assert full.any()
    assert (raw["seen"] == MISSING_INT).all(axis=1).any()
    for row in (np.argmax(full), np.argmax((raw["seen"] == MISSING_INT).all(axis=1))):
        user = {name: raw[name][row : row + 1] for name in ("user_id", "seen", "gap")}
        candidates = {name: values[:20] for name, values in raw.items()} | user
        got = serving(candidates, "rank")
        expected = serving({name: np.repeat(v, 20, axis=0) if name in user else v for name, v in candidates.items()})
        np.testing.assert_allclose(got["click"], expected["click"][got["order"]], rtol=1e-5)


def test_a_served_history_may_be_longer_than_what_is_kept(run, log):
    serving = Serving(run / "export" / "latest")
    raw = next(raw_batches(DayLog(log).units(DAYS[-2]), serving.columns))
    raw = {name: values[:50] for name, values in raw.items()}
    longer = {**raw, "seen": np.concatenate([np.full((50, 2), 7), raw["seen"]], axis=1)}
    longer["gap"] = np.concatenate([np.full((50, 2), 7, np.float32), raw["gap"]], axis=1)
    full = (raw["seen"] != MISSING_INT).all(axis=1)
    got, expected = (serving(x)["click"] for x in (longer, raw))
    np.testing.assert_array_equal(got[full], expected[full])
    assert (got[~full] != expected[~full]).any()


def test_a_run_cut_short_resumes_with_the_same_bits(run, log, tmp_path):
    config = load(log)
    with pytest.raises(StoppedError):
        begun(config, tmp_path / "run", StoppingReport).train()
    train(config, tmp_path / "run")
    assert_same_run(run, tmp_path / "run")


def test_a_history_that_does_not_fit_the_features_is_named(log):
    with pytest.raises(InputError, match=r"model\.sequences\.watched\.query: there is no feature video; define it"):
        load(log, "model.sequences.watched.query=[video]")
    with pytest.raises(InputError, match=r"model\.sequences\.watched: attention: mean takes no query; drop one"):
        load(log, "model.sequences.watched.attention=mean")
