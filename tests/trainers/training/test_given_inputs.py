"""Vectors, crossed ids and pretrained tables in a run: training, exports that agree, trainings of a grid, `check`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainers.runs import DAYS, ROWS, train
from tests.trainers.runs import load as load_config
from tfstable.data.arrays import raw_batches
from tfstable.data.columns import RawColumn
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.inputs.preprocessor import hash_bucket
from tfstable.serving.export import Serving
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers.build.learner import make_learner
from trainers.studies.workbench import Workbench
from trainers.training.check import check_log, sizes

FEATURES = (
    "features.cover={kind: vector, width: 3, normalise: layer, projection: 4}",
    "features.taste={kind: vector, width: 2}",
    "features.user_category={kind: hash, columns: [user_id, category], buckets: 999, dim: 4}",
)
EXPORT = ("export.user_columns=[user_id, taste]", "export.when=every_window")


def features(log: Path) -> tuple[str, ...]:
    """All features: also a frozen table of given vectors, and one that starts from them and learns slowly."""
    of_video = f"kind: hash, column: video_id, buckets: 997, dim: 5, pretrained: {log.parent / 'videos.npz'}"
    frozen = f"features.video_content={{{of_video}, trainable: false}}"
    return *FEATURES, frozen, f"features.video_slow={{{of_video}, rate: 0.1}}"


def load(log: Path, *overrides: str):
    return load_config(log, *features(log), *EXPORT, *overrides)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A simulated log with a vector for each video, which some videos lack, and one for each user."""
    path = tmp_path_factory.mktemp("given") / "log"
    simulate(path, days=4, rows_per_day=ROWS, users=200, videos=100)
    rng = np.random.default_rng(0)
    np.savez(path.parent / "videos.npz", id=np.arange(50), vector=rng.normal(size=(50, 5)))
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


def tables(run: Path) -> dict[str, np.ndarray]:
    """The embedding tables of a run's newest checkpoint."""
    return Run.of(run).parts().state.learner.model.embeddings.tables()


def test_a_frozen_table_stays_as_given_and_a_slow_one_moves(run, log, tmp_path):
    given = np.load(log.parent / "videos.npz")
    rows = 1 + hash_bucket(tf.constant(given["id"]), 997).numpy()
    alone = np.bincount(rows)[rows] == 1  # Of ids that share a row it is the mean.
    expected = given["vector"][alone].astype(np.float32)
    found = {name: tables(run)[name][rows[alone]] for name in ("video_content", "video_slow")}
    np.testing.assert_array_equal(found["video_content"], expected)
    moved = np.abs(found["video_slow"] - expected)
    assert 0 < moved.max() < 0.5


def test_a_run_goes_on_without_its_files_and_not_with_others(run, log, tmp_path):
    file = log.parent / "videos.npz"
    before = Run.of(run).predict(DAYS[3])["click"]
    content = file.read_bytes()
    try:
        file.unlink()
        np.testing.assert_array_equal(Run.of(run).predict(DAYS[3])["click"], before)  # The checkpoint has the tables.
        with pytest.raises(InputError, match=r"features.video_content.pretrained: .*videos.npz cannot be read"):
            load(log)
        np.savez(file, id=np.arange(50), vector=np.ones((50, 5)))
        with pytest.raises(InputError, match=r"holds a run with another config: features.video_content"):
            train(load(log), run)
    finally:
        file.write_bytes(content)


def test_every_training_of_a_grid_starts_from_the_files(log):
    config = load(log)
    bench = Workbench(config, DayLog(log), kept=1)
    shown = []
    for seed in (1, 2):
        own = config.model_copy(update={"trainer": config.trainer.model_copy(update={"seed": seed})})
        learner = bench.learner(own, "one", lambda: make_learner(config, bench.statistics))
        shown.append(learner.model.embeddings.tables())
    given = np.load(log.parent / "videos.npz")
    rows = 1 + hash_bucket(tf.constant(given["id"]), 997).numpy()
    for name in ("video_content", "video_slow"):
        np.testing.assert_array_equal(shown[0][name][rows], shown[1][name][rows])
    assert (shown[0]["user_id"] != shown[1]["user_id"]).all()
