"""The metrics of a day: lists, slices, one's own, of sampled and soft labels; and what a user sees of them."""

from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.trainers.runs import DAYS, metrics, start
from tfstable import metrics as functions
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.serving.card import Evaluation, ModelCard, markdown
from trainers import config as configs
from trainers.report.metrics import metric_tables, scalars
from trainers.store.window_record import WindowRecord
from trainers.training.check import check_log
from trainers.training.evaluation import evaluate
from trainers.training.slices import slices

DAY, ROWS = date(2025, 1, 1), 1200
CONFIG = """
data: {path: unset, weight: weight}
features: {x: {kind: numeric}}
tasks:
  buy: {kind: binary}
  time: {kind: regression}
evaluation: {ranking: {by: request, at: [3]}, slices: [country]}
"""
HERE = "evaluation.metrics={%s: tests.trainers.training.test_evaluation.%s}"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A day by hand, with its log: `(log, frame, predictions)`."""
    rng = np.random.default_rng(0)
    request = np.repeat(np.arange(ROWS // 6), 6).astype(object)
    request[:6] = None
    country = np.where(rng.random(ROWS) < 0.6, "NO", np.where(rng.random(ROWS) < 0.9, "BR", "IT")).astype(object)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=ROWS),
            "buy": (rng.random(ROWS) < 0.3).astype(np.float32),
            "time": rng.exponential(10, ROWS).astype(np.float32),
            "weight": rng.integers(0, 3, ROWS).astype(np.float32),
            "request": request,
            "country": country,
            "soft": rng.random(ROWS).astype(np.float32),
        }
    )
    log = tmp_path_factory.mktemp("by_hand") / "log"
    (log / f"date={DAY}").mkdir(parents=True)
    pq.write_table(pa.Table.from_pandas(frame), log / f"date={DAY}" / "part-0.parquet")
    predictions = {"buy": rng.random(ROWS).astype(np.float32), "time": rng.exponential(10, ROWS).astype(np.float32)}
    return log, frame, predictions


@pytest.fixture
def measured(rows, tmp_path):
    """Measures the day under other keys."""

    def run(*overrides: str, **keys):
        (tmp_path / "config.yaml").write_text(CONFIG)
        config = configs.load(tmp_path / "config.yaml", [f"data.path={rows[0]}", *overrides])
        check_log(config, DayLog(rows[0]))
        return evaluate(config, DayLog(rows[0]), DAY, rows[2], **keys)

    return run


def test_metrics_are_those_of_the_library(rows, measured):
    _, frame, predictions = rows
    y, p, w = frame["buy"], predictions["buy"], frame["weight"]
    of_lists = (y, p, frame["request"], w)
    got = measured()["buy"]
    assert got["ndcg@3"] == functions.ndcg(*of_lists, k=3)
    assert got["recall@3"] == functions.recall(*of_lists, k=3)
    assert got["mrr"] == functions.mrr(*of_lists)
    assert got["map"] == functions.mean_average_precision(*of_lists)
    assert (got["pr_auc"], got["pr_auc_se"]) == functions.average_precision(y, p, w)
    assert got["ne"] == functions.normalised_entropy(y, p, w)
    assert got["ece"] == functions.expected_calibration_error(y, p, w)


def test_slices_have_the_same_metrics_of_their_rows(rows, measured):
    _, frame, predictions = rows
    got = measured()
    assert list(got["buy"]["slices"]) == ["country"]
    assert list(got["buy"]["slices"]["country"]) == ["NO", "BR"]  # The few rows of IT are too few.
    of_slice = (frame["country"] == "BR").to_numpy()
    y, p, w = frame["buy"][of_slice], predictions["buy"][of_slice], frame["weight"][of_slice]
    found = got["buy"]["slices"]["country"]["BR"]
    assert found["auc"] == functions.auc(y, p, w)
    assert found["ndcg@3"] == functions.ndcg(y, p, frame["request"][of_slice], w, k=3)
    assert found["labels"] == (w > 0).sum()
    assert set(found) == set(got["buy"]) - {"slices", "spread"}
    rmse = functions.rmse(frame["time"][of_slice], predictions["time"][of_slice], w)
    assert got["time"]["slices"]["country"]["BR"]["rmse"] == rmse


def test_gate_and_detector_get_only_what_they_read(measured):
    brief = measured(detailed=False)
    assert set(brief["buy"]) == {
        "auc",
        "auc_se",
        "logloss",
        "calibration",
        "labels",
        "positives",
        "predicted",
        "spread",
    }
    full = measured()
    assert {name: full["buy"][name] for name in brief["buy"]} == brief["buy"]
    assert brief["time"] == {name: full["time"][name] for name in brief["time"]}


def test_sampled_negatives_take_as_many_positions_as_they_stand_for(rows, measured):
    _, frame, predictions = rows
    got = measured("tasks.buy.negative_rate=0.25")["buy"]
    times = np.where(frame["buy"] == 0, 4, 1)
    whole = [np.repeat(x.to_numpy(), times) for x in (frame["buy"], frame["request"], frame["weight"])]
    p = np.repeat(predictions["buy"], times)
    assert got["ndcg@3"] == pytest.approx(functions.ndcg(whole[0], p, whole[1], whole[2], k=3))
    assert got["map"] == pytest.approx(functions.mean_average_precision(whole[0], p, whole[1], whole[2]))
    assert got["pr_auc"] == pytest.approx(functions.average_precision(whole[0], p, whole[2]).value)


def test_soft_labels_are_gains(rows, measured):
    _, frame, predictions = rows
    got = measured("tasks.buy.label=soft", "tasks.buy.soft_labels=true")["buy"]
    expected = functions.ndcg(frame["soft"], predictions["buy"], frame["request"], frame["weight"], k=3)
    assert got["ndcg@3"] == pytest.approx(expected)
    assert "mrr" not in got
    sampled = measured("tasks.buy.label=soft", "tasks.buy.soft_labels=true", "tasks.buy.negative_rate=1.0")["buy"]
    assert sampled["ndcg@3"] == pytest.approx(expected)


# --- One's own metric.


def own(labels, predictions, weights, groups):
    assert labels.shape == predictions.shape == weights.shape == groups.shape
    assert (weights > 0).all()
    return np.float32(groups.max()) if len(groups) else float("nan")


def broken(labels, predictions, weights, groups):
    raise ZeroDivisionError("no rows above 0.99")


def wordy(labels, predictions, weights, groups):
    return "good"


def of_two(labels, predictions):
    return 0.0


def test_ones_own_metric_stands_beside_the_others(measured):
    got = measured(HERE % ("top", "own"))
    assert got["buy"]["top"] == got["time"]["top"] == ROWS / 6 - 2  # Numbers from 0, without the null request.
    assert "top" in got["buy"]["slices"]["country"]["NO"]
    one_task = "evaluation.metrics={top: {function: tests.trainers.training.test_evaluation.own, tasks: [buy]}}"
    assert "top" not in measured(one_task)["time"]
    assert measured(one_task, "evaluation.ranking=null")["buy"]["top"] == -1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            HERE % ("bad", "broken"),
            "evaluation.metrics.bad: .*broken on task buy, day 2025-01-01: ZeroDivisionError: no",
        ),
        (HERE % ("bad", "wordy"), "evaluation.metrics.bad: .*wordy on task buy, .* returned str, expected a number"),
        (HERE % ("bad", "of_two"), "evaluation.metrics.bad: .*of_two is no function of labels, predictions, weights"),
        (HERE % ("bad", "gone"), "evaluation.metrics.bad: .*gone cannot be imported .*; is its package on PYTHONPATH"),
        ("evaluation.metrics={bad: own}", "evaluation.metrics.bad: own cannot be imported"),
        (HERE % ("ndcg@7", "own"), "metrics.ndcg@7: an evaluation has a metric of this name already"),
        (
            "evaluation.metrics={top: {function: a.b, tasks: [sell]}}",
            "evaluation.metrics.top.tasks: no task sell; the tasks are buy, time",
        ),
        ("evaluation.slices=[city]", "no column city"),
        ("evaluation.ranking={by: list}", "no column list"),
        ("evaluation.ranking={by: request, at: []}", "evaluation.ranking.at"),
        ("evaluation.slices=[x]", "column x"),
    ],
)
def test_one_clear_error(override, expected, measured):
    with pytest.raises(InputError, match=expected):
        measured(override)


def test_every_name_of_an_evaluation_is_taken(measured, rows):
    found = measured("tasks.buy.truth=soft", "evaluation.gauc_column=country")
    names = {name.partition("@")[0] for of_task in found.values() for name in of_task}
    assert names == configs.evaluation.METRICS


def test_a_run_stops_in_one_line_and_goes_on_when_the_metric_is_mended(log, tmp_path):
    alone = ["data.until=2025-01-03", "export.when=never"]
    with pytest.raises(InputError, match=r"broken on task click, day 2025-01-03: .*; mend the function, or remove it"):
        start(log, tmp_path / "run", HERE % ("mine", "broken"), *alone)
    start(log, tmp_path / "run", HERE % ("mine", "own"), *alone)
    assert metrics(tmp_path / "run", DAYS[1])["tasks"]["click"]["mine"] > 0


# --- Slices of a column, and what is shown.


def test_commonest_values_first_and_the_rest_together():
    values = [*[f"v{i}" for i in range(12) for _ in range(100 + i)], *["rare"] * 5, *["other"] * 3, *[None] * 150, ""]
    found = slices(pa.chunked_array([values[:700], values[700:]], pa.string()))
    assert list(found) == [*(f"v{i}" for i in range(11, 1, -1)), "other", "missing"]
    assert {name: int(rows.sum()) for name, rows in found.items()} == {
        **{f"v{i}": 100 + i for i in range(2, 12)},
        "other": 100 + 101 + 5 + 3,
        "missing": 151,
    }
    assert list(slices(pa.chunked_array([[7] * 100 + [5] * 100 + [None] * 99], pa.int64()))) == ["5", "7"]


def test_tables_scalars_and_the_card(measured):
    found = measured()
    record = WindowRecord((DAY, DAY), 1, 1, 1.0, 1.0, DAY, found)
    shown = Console(width=60, record=True, quiet=True)
    with shown.capture() as capture:
        shown.quiet = False
        shown.print(*metric_tables(record))
    printed = capture.get()
    assert f"ndcg@3      │ {found['buy']['ndcg@3']:.4f}" in printed
    assert f"BR      │ {found['buy']['slices']['country']['BR']['auc']:.4f}" in printed
    assert "labels" not in printed
    written = scalars(found)
    assert written["ndcg@3/buy"] == found["buy"]["ndcg@3"]
    assert written["rmse/time/country=NO"] == found["time"]["slices"]["country"]["NO"]["rmse"]
    assert "ndcg@3/buy/country=NO" not in written
    assert all(isinstance(value, float | int) for value in written.values())
    card = ModelCard("2025-01-01", evaluation=Evaluation(("2025-01-01",) * 2, "2025-01-02", found))
    assert f"| {found['buy']['ndcg@3']:.4f} |" in markdown(card)
    assert "slices" not in markdown(card)
