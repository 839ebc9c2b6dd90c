"""What can be shown of TPUs without one: the checks up front, and the way of the tables to SparseCores and back.

That the whole step compiles is in test_xla.py. Nothing here has run on TPU hardware.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.all_inputs import SEQUENCES, add_columns, features
from tests.trainers.launch import ROOT, finish, start
from tests.trainers.runs import load
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.sources.simulate import simulate
from trainers import config as configs
from trainers.build.model import make_model
from trainers.build.sparsecore import check_tables, on_host, place_on_sparse_cores
from trainers.training.check import check_log, tables
from trainers.training.first_window import fit_statistics


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("tpu") / "log"
    simulate(path, days=2, rows_per_day=500, users=200, videos=100)
    return add_columns(path)


def test_without_a_tpu_one_line_says_so(log, tmp_path):
    load(log)
    said = finish(start(log.parent / "config.yaml", tmp_path / "run", f"data.path={log}", "trainer.strategy=tpu"), 2)
    assert "error: trainer.strategy: tpu: no TPU 'local' can be reached" in said
    assert "Traceback" not in said


def test_the_tpu_recipe_is_the_hosts_with_another_strategy():
    ours, host = (configs.load(ROOT / "configs" / name) for name in ("kuairand_tpu.yaml", "kuairand_columns.yaml"))
    assert ours.trainer.strategy == "tpu"
    assert ours.features == host.features
    assert ours.tasks == host.tasks
    check_tables(ours, tables(ours), sparse_cores=True)
    check_tables(ours, tables(ours), sparse_cores=False)


def test_tables_that_a_tpu_cannot_train_are_refused(log):
    large = load(log, "features.user_id.buckets=200000000")
    with pytest.raises(InputError, match=r"tpu_table_gb: the tables hold 3\.2 GB, more than 2"):
        check_tables(large, tables(large), sparse_cores=False)
    check_tables(large, tables(large), sparse_cores=True)
    forgetting = load(log, "optimizer.embeddings.forget=0.9")
    with pytest.raises(InputError, match=r"optimizer\.embeddings\.forget: accumulators on SparseCores cannot forget"):
        check_tables(forgetting, tables(forgetting), sparse_cores=True)
    check_tables(forgetting, tables(forgetting), sparse_cores=False)
    by_row = load(log, "optimizer.embeddings.accumulator=row")
    with pytest.raises(InputError, match=r"optimizer\.embeddings\.accumulator: SparseCores keep one number per weight"):
        check_tables(by_row, tables(by_row), sparse_cores=True)
    penalised = load(log, "model.penalty={kind: noise, stddev: 0.1}")
    with pytest.raises(InputError, match=r"model\.penalty: SparseCores know no penalty"):
        check_tables(penalised, tables(penalised), sparse_cores=True)
    for wrong in ("{rule: adam}", "{clipping: {kind: clippy}}", "{schedule: {warmup_steps: 5}}"):
        config = load(log, f"optimizer.embeddings={wrong}")
        with pytest.raises(InputError, match="SparseCores support only stock Adagrad"):
            check_tables(config, tables(config), sparse_cores=True)


def test_inputs_that_sparse_cores_do_not_know_are_refused(log):
    of = {name: f"features.{name}={json.dumps(spec)}" for name, spec in features(log).items()}
    for name, keys, said in (
        ("watched", ("seen", "gap"), r"model\.sequences: SparseCores pool all values of an example; drop the key"),
        ("content", ("content",), r"features\.content: SparseCores know neither pretrained nor rate; drop them"),
        ("fan", ("fan",), r"features\.fan: SparseCores cannot give rows anew; take kind: hash"),
        ("tag", ("tag",), r"features\.tag: SparseCores cannot give rows anew; .* a vocabulary without grow"),
        ("pair", ("pair",), r"features\.pair: SparseCores know neither pretrained nor rate; drop them"),
    ):
        more = [f"model.sequences.{name}={json.dumps(SEQUENCES[name])}"] if name in SEQUENCES else []
        config = load(log, *(of[key] for key in keys), *more)
        with pytest.raises(InputError, match=said):
            check_tables(config, tables(config), sparse_cores=True)
        check_tables(config, tables(config), sparse_cores=False)  # There, tables are ordinary variables.


def test_a_model_on_sparse_cores_is_exported_in_its_host_form(log):
    given = {name: spec for name, spec in features(log).items() if name in ("of_video", "pair", "cover")}
    given["pair"].pop("rate")
    config = load(
        log,
        "model.wide=true",
        "trainer.batch_size=4",
        "optimizer.embeddings.initial_accumulator=null",
        *(f"features.{name}={json.dumps(spec)}" for name, spec in given.items()),
    )
    check_tables(config, tables(config), sparse_cores=True)
    daylog = DayLog(log)
    statistics = fit_statistics(config, daylog, check_log(config, daylog))
    placed = {}
    model = make_model(
        config, statistics, lambda model: placed.update(place_on_sparse_cores(model, config, "default_device"))
    )
    other = make_model(config, statistics)
    rng = np.random.default_rng(0)
    names = ("user_id", "video_id", "category", "pair")
    inputs = {name: tf.constant(rng.integers(0, 5, 4), tf.int32) for name in names}
    inputs |= {"of_video": tf.random.normal([4, 3]), "cover": tf.random.normal([4, 4])}
    inputs |= {"tags": tf.constant([[1, 2, -1]] * 4), "user_followed": tf.constant([1, 2, 3, 4])}
    inputs |= {"duration_s": tf.constant([0.5, 1.0, -1.0, 0.0])}
    for name, values in (expected := model(inputs)).items():
        assert not np.allclose(values, other(inputs)[name], rtol=1e-6), name
    # (1 / batch size)^2, as in tables on hosts.
    accumulators = [t.optimizer.initial_accumulator_value for layer in placed.values() for t in layer._tables.values()]
    assert set(accumulators) == {1 / 16}
    host = on_host(placed, model, other)
    for name, values in expected.items():
        np.testing.assert_allclose(host(inputs)[name], values, rtol=1e-5, err_msg=name)
