"""Vectors and crossed ids in a run, as a whole: training, exports that agree, exact resume, `check`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import DAYS, ROWS, StoppedError, StoppingReport, assert_same_run, begun, train
from tests.trainers.runs import load as load_config
from tfstable.data.arrays import raw_batches
from tfstable.data.columns import RawColumn
from tfstable.data.log import DayLog
from tfstable.serving.export import Serving
from tfstable.sources.simulate import simulate
from trainers.training.check import check_log, sizes

SET = (
    "features.cover={kind: vector, width: 3, normalise: layer, projection: 4}",
    "features.taste={kind: vector, width: 2}",
    "features.user_category={kind: hash, columns: [user_id, category], buckets: 999, dim: 4}",
    "export.user_columns=[user_id, taste]",
    "export.when=every_window",
)


def load(log: Path, *overrides: str):
    return load_config(log, *SET, *overrides)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A simulated log with a vector for each video, which some videos lack, and one for each user."""
    path = tmp_path_factory.mktemp("given") / "log"
    simulate(path, days=4, rows_per_day=ROWS, users=200, videos=100)
    rng = np.random.default_rng(0)
    covers = [None if rng.random() < 0.2 else row.tolist() for row in rng.normal(size=(10_000, 3))]
    for file in path.glob("date=*/*.parquet"):
        table = pq.read_table(file)
        cover = [covers[video % len(covers)] for video in table["video_id"].to_pylist()]
        taste = [[user % 7 / 7, user % 5 / 5] for user in table["user_id"].to_pylist()]
        table = table.append_column("cover", pa.array(cover, pa.list_(pa.float32())))
        pq.write_table(table.append_column("taste", pa.array(taste, pa.list_(pa.float64(), 2))), file)
    return path


@pytest.fixture(scope="module")
def run(log, tmp_path_factory) -> Path:
    """A finished run: every version in it has predicted a whole day as the trainer did, `rank` too."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(load(log), path)
    return path


def test_it_is_exported_with_vectors_of_their_width(run):
    serving = Serving(run / "export" / "latest")
    assert set(serving.signatures) == {"serving_default", "serve_examples", "rank"}
    assert (serving.columns["cover"].width, serving.columns["taste"].width) == (3, 2)
    serving.warm_up()


def test_a_run_cut_short_resumes_with_the_same_bits(run, log, tmp_path):
    config = load(log)
    with pytest.raises(StoppedError):
        begun(config, tmp_path / "run", StoppingReport).train()
    train(config, tmp_path / "run")
    assert_same_run(run, tmp_path / "run")


def test_predictions_depend_on_the_vector_and_on_whether_there_is_one(run, log):
    serving = Serving(run / "export" / "latest")
    row = {name: values[:1] for name, values in next(raw_batches(DayLog(log).units(DAYS[0]), serving.columns)).items()}
    covers = {"zeros": [0, 0, 0], "others": [1, 1, 2], "missing": [np.nan] * 3, "in part": [1, np.nan, 2]}
    found = {name: serving({**row, "cover": np.float32([cover])})["click"][0] for name, cover in covers.items()}
    assert found["missing"] == found["in part"]
    assert len({found[name] for name in ("zeros", "others", "missing")}) == 3


def test_check_counts_their_memory(log):
    config, opened = load(log, "features.cover.width=3000"), DayLog(log)
    columns = check_log(load(log), opened) | {"cover": RawColumn(dtype="float32", width=3000, vector=True)}
    assert "shuffle buffers about 96 MB" in sizes(config, opened, columns)[-1]  # Twice 2000 rows of 2 x 3000 x 4 bytes.
