"""Runs with another format, model class, precision or device, and a run whose config changes."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainers.runs import (
    DAYS,
    assert_same_run,
    begun,
    copy_days,
    is_model_weight,
    load,
    metrics,
    smooth,
    start,
    weights,
)
from tfstable.errors import InputError
from trainers import Run
from trainers import config as configs


def test_another_config_is_refused_unless_fresh(whole, log, tmp_path):
    shutil.copytree(whole, tmp_path / "run", symlinks=True)
    with pytest.raises(InputError, match=r"model\.beta \(1\.0 -> 2\.0\).*--fresh"):
        start(log, tmp_path / "run", "model.beta=2.0")
    assert_same_run(whole, tmp_path / "run")
    start(log, tmp_path / "run", "trainer.steps_per_call=5")  # An operational key may change.
    assert_same_run(whole, tmp_path / "run")
    start(log, tmp_path / "run", "model.beta=2.0", "export.when=never", fresh=True)
    assert not (tmp_path / "run" / "export").exists()
    assert metrics(tmp_path / "run") != metrics(whole)


def test_a_csv_log_trains_as_the_parquet_log_does(whole, log, tmp_path):
    parquet = copy_days(log, DAYS[:3], tmp_path / "as parquet")
    for day in DAYS[:3]:
        (tmp_path / "log" / f"date={day}").mkdir(parents=True)
        table = pq.read_table(log / f"date={day}" / "part-0.parquet")
        pyarrow.csv.write_csv(table.drop_columns("tags"), tmp_path / "log" / f"date={day}" / "part-0.csv")
    no_tags = load(log, "export.when=never").model_dump(mode="json", by_alias=True)
    del no_tags["features"]["tags"]
    for name, path in {"parquet": parquet, "csv": tmp_path / "log"}.items():
        config = configs.Config.model_validate({**no_tags, "data": {**no_tags["data"], "path": str(path)}})
        Run.open(config, tmp_path / name).train()
    assert_same_run(tmp_path / "parquet", tmp_path / "csv")


def test_a_class_of_ones_own_from_the_config(log, tmp_path):
    options = ["model.class=examples.mmoe.MMoE", "model.options={experts: 3, expert_units: [8]}"]
    start(log, tmp_path / "run", *options)
    gates = [value for name, value in weights(tmp_path / "run").items() if value.shape == (16, 3)]
    assert len(gates) == 2 * 3  # Three tasks: a kernel for each and its Adagrad slot.
    assert metrics(tmp_path / "run")["tasks"]["click"]["auc"] > 0.5
    with pytest.raises(InputError, match=r"model\.options\.expert: not an argument of examples\.mmoe\.MMoE"):
        start(log, tmp_path / "other", options[0], "model.options={expert: 3}")
    with pytest.raises(InputError, match=r"model\.class: examples\.nothing\.Model cannot be imported"):
        start(log, tmp_path / "third", "model.class=examples.nothing.Model")


def test_mixed_precision_keeps_weights_and_predictions_in_float32(whole, log, tmp_path):
    start(log, tmp_path / "run", "trainer.precision=mixed_bfloat16")
    assert {value.dtype for value in weights(tmp_path / "run").values()} <= {np.dtype(np.float32), np.dtype(np.int64)}
    for task in ("click", "follow"):
        ours, theirs = metrics(whole)["tasks"][task]["auc"], metrics(tmp_path / "run")["tasks"][task]["auc"]
        assert ours != theirs  # bfloat16 was at work,
        assert ours == pytest.approx(theirs, abs=0.05)  # and did no harm beyond the noise of 1000 rows.
    signature = tf.saved_model.load(str(tmp_path / "run" / "export" / "1")).signatures["serving_default"]
    assert {spec.dtype for spec in signature.structured_outputs.values()} == {tf.float32}


def test_mirrored_replicas_train_to_the_same_weights(whole, log, tmp_path):
    # Real replicas: two logical CPUs, which a process must ask for before TensorFlow starts.
    program = f"""
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.trainers.runs import start
from pathlib import Path
start(Path({str(log)!r}), Path({str(tmp_path / "run")!r}), "trainer.strategy=mirrored")
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = weights(whole), weights(tmp_path / "run")
    for name, value in ours.items():
        if is_model_weight(name):
            distance = np.linalg.norm(value - theirs[name]) / max(np.linalg.norm(value), 1e-12)
            assert distance <= 1e-5, (name, distance)
    for task, values in smooth(metrics(whole)["tasks"]).items():
        assert values == pytest.approx(smooth(metrics(tmp_path / "run")["tasks"])[task], rel=1e-3), task


@pytest.mark.parametrize("groups", [None, {"tables_4": {}, "bottom|output": {}}], ids=["two", "by pattern"])
def test_accumulators_of_tables_start_at_the_square_of_one_examples_part_of_a_batch(log, tmp_path, groups):
    given = "optimizer.embeddings.initial_accumulator=null" if groups is None else f"optimizer={{groups: {groups}}}"
    learner = begun(load(log, given), tmp_path / "run").state.learner
    for variable in learner.model.trainable_variables:
        (group,) = [group for group in learner.optimizer.groups if variable in group]
        expected = 1 / 256**2 if "tables" in variable.path else 0.1
        assert np.all(group.optimizer.accumulator(variable).numpy() == np.float32(expected)), variable.path
