"""Sampled negatives, weights of a task, soft labels: trained, measured and exported for the whole population."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.runs import DAYS, load, metrics, start, weights
from tfstable.data.arrays import raw_batches
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.metrics import auc, calibration, log_loss
from tfstable.serving.export import Serving
from tfstable.sources.simulate import simulate
from tfstable.specs import BinaryTask, RegressionTask
from trainers.studies.compare.compare import compare
from trainers.training.run import Run
from trainers.training.task_rows import task_rows

RATE = 0.25


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A feed with a quarter of its rows without a click, on iOS half of them; beside it a quarter `even`, and `all`."""
    path = tmp_path_factory.mktemp("sampled") / "log"
    population = path.parent / "population"
    simulate(population, days=3, rows_per_day=4000, users=200, videos=100)
    for number, day in enumerate(DAYS[:3]):
        rows, rng = pq.read_table(next((population / f"date={day}").glob("*.parquet"))), np.random.default_rng(number)
        click, ios = rows["click"].to_numpy(), np.array([d == "ios" for d in rows["user_device"].to_pylist()])
        rate = np.where(ios, 2 * RATE, RATE)
        columns = {"rate": rate, "soft": np.clip(rows["true_click"].to_numpy(), 0, 1), "twice": 2.0 * (click + 1)}
        for name, values in columns.items():
            rows = rows.append_column(name, pa.array(values))
        for name, kept in (("log", rate), ("even", np.full(len(click), RATE)), ("all", np.ones(len(click)))):
            folder = path.parent / name / f"date={day}"
            folder.mkdir(parents=True)
            chosen = (click == 1) | (rng.random(len(click)) < kept)
            pq.write_table(rows.filter(pa.array(chosen)), folder / "part-0.parquet")
    return path


def only(task: str) -> tuple[str, ...]:
    return (f"tasks={{click: {task}}}", "trainer.window_days=2", "data.weight=null")


def test_a_constant_rate_shifts_predictions_and_leaves_training_alone(log, tmp_path):
    even = log.parent / "even"
    for name, task in (("plain", "{kind: binary}"), ("shifted", f"{{kind: binary, negative_rate: {RATE}}}")):
        start(even, tmp_path / name, *only(task), f"export.when={'never' if name == 'plain' else 'last'}")
    plain, shifted = weights(tmp_path / "plain"), weights(tmp_path / "shifted")
    for name, value in plain.items():
        np.testing.assert_array_equal(value, shifted[name], err_msg=name)
    p, q = (Run.of(tmp_path / name).predict(DAYS[2])["click"] for name in ("plain", "shifted"))
    np.testing.assert_allclose(q, p * RATE / (1 - p + p * RATE), rtol=1e-5)
    raw, want = next(raw_batches(DayLog(even).units(DAYS[2]), Serving(tmp_path / "shifted/export/1").columns)), q
    served = Serving(tmp_path / "shifted/export/1")(raw)["click"]
    np.testing.assert_allclose(served, want[: len(served)], rtol=1e-5)
    measured = metrics(tmp_path / "shifted", DAYS[1])["tasks"]["click"]
    assert 0.8 < measured["calibration"] < 1.25
    assert measured["predicted"] == pytest.approx(
        metrics(tmp_path / "plain", DAYS[1])["tasks"]["click"]["predicted"], rel=1e-5
    )
    every = log.parent / "all"
    truth = pq.read_table(every / f"date={DAYS[2]}" / "part-0.parquet")["click"].to_numpy()
    assert abs(np.log(Run.of(tmp_path / "shifted", every).predict(DAYS[2])["click"].mean() / truth.mean())) < 0.15


def test_a_rate_of_each_row_is_made_up_for_in_the_loss(log, tmp_path):
    start(log, tmp_path / "run", *only("{kind: binary, negative_rate: rate}"))
    every = log.parent / "all"
    rows = pq.read_table(every / f"date={DAYS[2]}" / "part-0.parquet")
    predicted, click = Run.of(tmp_path / "run", every).predict(DAYS[2])["click"], rows["click"].to_numpy()
    ios = np.array([device == "ios" for device in rows["user_device"].to_pylist()])
    for own in (ios, ~ios):
        assert abs(np.log(predicted[own].mean() / click[own].mean())) < 0.2
    found = compare(tmp_path / "run", tmp_path / "run", DayLog(log), DAYS[2], lambda *_: None)
    assert found["tasks"]["click"]["auc"]["first"]["value"] == pytest.approx(
        Run.of(tmp_path / "run").evaluate(DAYS[2])["click"]["auc"]
    )


def test_soft_labels_and_weights_of_a_task(log, tmp_path):
    start(
        log,
        tmp_path / "run",
        "export.when=never",
        *only("{kind: binary, label: soft, soft_labels: true, weight_column: twice}"),
    )
    y = pq.read_table(log / f"date={DAYS[2]}" / "part-0.parquet")
    soft, weight = y["soft"].to_numpy().astype(np.float32), y["twice"].to_numpy()
    p = Run.of(tmp_path / "run").predict(DAYS[2])["click"]
    found = metrics(tmp_path / "run", DAYS[1])["tasks"]["click"]
    assert found["auc"] > 0.6
    assert found["calibration"] == pytest.approx(1, abs=0.2)
    # Measured on a day that the model has trained on.
    rows = task_rows(
        "click", BinaryTask(kind="binary", label="soft", soft_labels=True, weight_column="twice"), y, None, DAYS[2]
    )
    expected = -(weight * (soft * np.log(p) + (1 - soft) * np.log(1 - p))).sum() / weight.sum()
    assert log_loss(rows.labels, p[rows.rows], rows.weights) == pytest.approx(expected, rel=1e-5)
    assert calibration(rows.labels, p[rows.rows], rows.weights) == pytest.approx(
        (weight * p).sum() / (weight * soft).sum()
    )


def test_rows_of_a_task_speak_of_the_population():
    table = pa.table({"y": pa.array([1, 0, 0, None], pa.float32()), "r": pa.array([0.1, 0.5, 1.0, None], pa.float32())})
    rows = task_rows("y", BinaryTask(kind="binary", negative_rate="r"), table, None, DAYS[0])
    np.testing.assert_allclose(rows.weights[:3], [1, 2, 1])
    rows = task_rows("y", BinaryTask(kind="binary", negative_rate=0.1), table, "r", DAYS[0])
    np.testing.assert_allclose(rows.weights, [0.1, 5, 10, 0], rtol=1e-6)
    rows = task_rows("y", RegressionTask(kind="regression", matures_after_days=1), table, None, DAYS[0], DAYS[0])
    assert np.isnan(rows.labels).all()
    labels, scores = np.array([1, 0, 0, 1, 0.0]), np.array([0.9, 0.8, 0.1, 0.4, 0.3])
    soft = task_rows(
        "y", BinaryTask(kind="binary", soft_labels=True), pa.table({"y": labels.astype(np.float32)}), None, DAYS[0]
    )
    assert auc(soft.labels, scores[soft.rows], soft.weights) == pytest.approx(auc(labels, scores))


@pytest.mark.parametrize(
    ("task", "column", "value", "said"),
    [
        ("{kind: binary, negative_rate: rate}", "rate", 0.0, "negative_rate: column rate holds 0; a rate is above 0"),
        ("{kind: binary, negative_rate: rate}", "rate", None, "negative_rate: column rate holds a null"),
        ("{kind: binary, weight_column: twice}", "twice", -1.0, "weight_column: column twice holds -1"),
        ("{kind: binary, label: soft, soft_labels: true}", "soft", 1.5, "a soft label is between 0 and 1"),
        (
            "{kind: binary, matures_after_days: 1, fresh: {delay_column: twice, late_share: 0.5}}",
            "twice",
            -2.0,
            "fresh: column twice holds -2",
        ),
    ],
)
def test_what_does_not_fit_is_one_error(log, tmp_path, task, column, value, said):
    broken = tmp_path / "log"
    for day in DAYS[:3]:
        table = pq.read_table(log / f"date={day}" / "part-0.parquet")
        values = table[column].to_pylist()
        values[7] = value if day == DAYS[0] else values[7]
        place = table.schema.get_field_index(column)
        (broken / f"date={day}").mkdir(parents=True)
        table = table.set_column(place, column, pa.array(values, table.schema.field(column).type))
        pq.write_table(table, broken / f"date={day}" / "part-0.parquet")
    with pytest.raises(InputError, match=said):
        start(broken, tmp_path / "run", f"tasks={{click: {task}}}", "trainer.window_days=1", "data.weight=null")
    assert not (tmp_path / "run").exists()


def test_fresh_labels_need_days_of_their_own(log):
    task = "{kind: binary, matures_after_days: 2, fresh: {delay_column: twice, late_share: 0.5}}"
    with pytest.raises(InputError, match=r"set trainer\.window_days and trainer\.stride_days to 1"):
        load(log, *only(task))
    with pytest.raises(InputError, match="set matures_after_days"):
        load(log, *only(task.replace("matures_after_days: 2, ", "")))
