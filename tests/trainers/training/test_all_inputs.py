"""Every kind of input in one run: training, exports that agree, exact resume, all commands."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainers.all_inputs import USER_COLUMNS, add_columns, overrides
from tests.trainers.commands import tfstable
from tests.trainers.runs import DAYS, ROWS, StoppedError, StoppingReport, assert_same_run, begun, metrics, train
from tests.trainers.runs import load as load_config
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.serving.examples import serialize
from tfstable.serving.export import Serving
from tfstable.sources.simulate import simulate
from tfstable.specs import MISSING_INT
from trainers.training.run import Run

EXPORT = (f"export.user_columns=[{', '.join(USER_COLUMNS)}]", "export.when=last", f"data.until={DAYS[2]}")


def load(log: Path, *more: str):
    return load_config(log, *overrides(log), *EXPORT, *more)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("all") / "log"
    simulate(path, days=4, rows_per_day=ROWS, users=200, videos=100)
    return add_columns(path)


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
        user = {name: raw[name][row : row + 1] for name in USER_COLUMNS}
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


def test_requests_that_do_not_fit_are_one_line(run, log):
    serving = Serving(run / "export" / "latest")
    raw = {n: x[:3] for n, x in next(raw_batches(DayLog(log).units(DAYS[3]), serving.columns)).items()}
    ragged = np.array([[1], [1, 2], []], dtype=object)
    for change, said in (
        (
            {"seen": ragged},
            r"column seen has .* lists of several lengths; give int64 of shape \(rows, values\), shorter",
        ),
        (
            {"seen": np.ones(3, int)},
            r"column seen has shape \(3,\); give int64 of shape \(rows, values\), shorter lists",
        ),
        ({"cover": np.ones((3, 2))}, r"column cover has shape \(3, 2\); give float32 of shape \(rows, 3\)$"),
        ({"category": np.ones(3)}, r"column category has values of another type .*; give string of shape \(rows,\)$"),
        ({"seen": np.ones((2, 2), int)}, r"columns of 2 and 3 rows; give each as many"),
    ):
        with pytest.raises(InputError, match=said):
            serving(raw | change)
    with pytest.raises(InputError, match=r"no column seen; give int64 of shape \(rows, values\)$"):
        serving({name: values for name, values in raw.items() if name != "seen"})
    for length in (0, 99):
        longer = raw | {"seen": np.ones((3, length), int), "gap": np.ones((3, length), np.float32)}
        assert np.isfinite(serving(longer)["click"]).all()


def test_a_tf_example_keeps_the_place_of_an_event_that_lacks_a_column(run, log):
    serving = Serving(run / "export" / "latest")
    raw = {n: x[:200] for n, x in next(raw_batches(DayLog(log).units(DAYS[3]), serving.columns)).items()}
    assert (np.isnan(raw["gap"]) & (raw["seen"] != MISSING_INT)).any()
    raw["cover"][:9, 1] = np.nan  # A vector that is missing in part is missing.
    served = serving._loaded.signatures["serve_examples"](examples=tf.constant(serialize(raw)))
    for task, values in serving(raw).items():
        np.testing.assert_allclose(served[task], values, rtol=1e-6)


@pytest.mark.slow
def test_a_run_cut_short_resumes_with_the_same_bits(run, log, tmp_path):
    config = load(log)
    with pytest.raises(StoppedError):
        begun(config, tmp_path / "run", StoppingReport).train()
    train(config, tmp_path / "run")
    assert_same_run(run, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [
        ("trainer.precision=mixed_bfloat16", "optimizer.averaging={kind: ema, horizon_steps: 4}"),
        ("trainer.precision=mixed_bfloat16", "trainer.xla=true"),
        ("trainer.xla=true",),
        ("optimizer.averaging={kind: swa}",),
        ("optimizer.dense.clipping={kind: clippy}", "model.wide=true"),
    ],
    ids=["bfloat16-ema", "bfloat16-xla", "xla", "swa", "clippy-wide"],
)
def test_it_is_trained_and_exported_with(keys, log, tmp_path):
    train(load(log, *keys), tmp_path / "run")  # It predicts as the trainer does: else no version.
    assert (tmp_path / "run" / "export" / "latest").exists()
    assert metrics(tmp_path / "run")["tasks"]["click"]["auc"] > 0.5


def test_every_command_reads_it(run, log, monkeypatch, capsys, tmp_path):
    def said(*arguments: object) -> str:
        status, printed, errors = tfstable(monkeypatch, capsys, *arguments)
        assert status == 0, errors
        return printed

    config = ["--config", log.parent / "config.yaml"]
    sets = [word for override in (*overrides(log), *EXPORT, f"data.path={log}") for word in ("--set", override)]
    assert "values fit together" in said("check", "--deep", *config, *sets)
    version, day = run / "export" / "latest", DAYS[3]
    said("predict", "--export", version, "--data", log, "--day", day, "--out", tmp_path / "predicted")
    predicted = pq.read_table(tmp_path / "predicted")
    for task, values in Run.of(run).predict(day).items():  # The day after the export's last: it has the same counters.
        np.testing.assert_allclose(predicted[task], values, rtol=1e-5)
    compared = said("compare", run, version, "--data", log, "--day", day, "--samples", 10)
    assert "prediction difference" in compared
    assert "click" in said("evaluate", "--model-dir", run, "--day", day)
    said("doctor", run, "--out", tmp_path / "page.json")
    found = json.loads((tmp_path / "page.json").read_text())
    wrong = ["features.id", "features.seen_id", "features.tag"]  # Their tables are too small for the log, by design.
    assert [each["subject"] for each in found["findings"]] == wrong
    assert found["inputs"].keys() | {"of_video", "of_pair"} == load(log).features.keys()


def test_a_history_that_does_not_fit_the_features_is_named(log):
    with pytest.raises(InputError, match=r"model\.sequences\.watched\.query: there is no feature video; define it"):
        load(log, "model.sequences.watched.query=[video]")
    with pytest.raises(InputError, match=r"model\.sequences\.watched: attention: mean takes no query; drop one"):
        load(log, "model.sequences.watched.attention=mean")
