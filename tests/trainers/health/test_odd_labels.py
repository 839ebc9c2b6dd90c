"""Runs on logs with days whose labels are missing, broken or shuffled: what is served, told of and trained."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.poisoned import CONFIG, events, poisoned
from tests.trainers.poisoned import go as train
from tests.trainers.runs import metrics
from tfstable.data.log import DayLog
from tfstable.serving import export
from tfstable.sources.simulate import simulate
from trainers import config as configs
from trainers.training.evaluation import evaluate

DAYS = [date(2025, 1, day) for day in range(1, 8)]
ROWS = 2560
SHARE = "tasks.share={kind: binary}"  # About 8 positives a day.


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("odd") / "log"
    simulate(path, days=len(DAYS), rows_per_day=ROWS, users=300, videos=150)
    return path


def go(log: Path, run: Path, *overrides: str):
    train(log, run, "export.when=every_window", "export.keep_versions=20", SHARE, *overrides)


def change(log: Path, day: date, columns: Callable[[pa.Table], dict[str, np.ndarray]]):
    path = log / f"date={day}" / "part-0.parquet"
    table = pq.read_table(path)
    for name, values in columns(table).items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(place).type, from_pandas=True))
    pq.write_table(table, path)


def nothing(*names: str) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    return lambda table: {name: [None] * table.num_rows for name in names}


def served(run: Path) -> list[str]:
    directory = run / "export"
    return [export.metadata(directory / str(number)).window_end for number in export.versions(directory)]


@pytest.mark.slow
def test_days_without_labels_are_trained_on_served_and_no_divergence(log, tmp_path):
    bad = poisoned(log, DAYS[0], tmp_path / "log", lambda table: {})
    change(bad, DAYS[2], nothing("click"))
    change(bad, DAYS[4], nothing("click", "watch_time_s", "share"))
    change(bad, DAYS[6], nothing("click", "watch_time_s", "share"))
    go(bad, tmp_path / "run")
    assert served(tmp_path / "run") == [str(day) for day in DAYS]
    assert not (tmp_path / "run" / "events.jsonl").exists()
    tasks = metrics(tmp_path / "run", DAYS[1])["tasks"]
    assert (tasks["click"]["labels"], tasks["watch_time"]["labels"]) == (0, ROWS)
    assert tasks["click"]["auc"] is None


def test_a_broken_join_is_told_not_served_and_its_window_left_out(log, tmp_path):
    bad = poisoned(log, DAYS[0], tmp_path / "log", lambda table: {})
    for day in DAYS:  # Three positives a day, and none on two.
        few = 0 if day in (DAYS[3], DAYS[5]) else 3
        change(bad, day, lambda table, few=few: {"share": np.arange(table.num_rows) < few})
    for day in DAYS[3:5]:
        change(bad, day, lambda table: {"click": np.zeros(table.num_rows)})
    go(bad, tmp_path / "run")
    told = events(tmp_path / "run", "odd_labels")
    assert {event["day"] for event in told} == {str(DAYS[3]), str(DAYS[4])}
    for event in told:
        (reason,) = event["reasons"]  # Of the frequent task alone: a rare one may have no positive.
        assert reason.startswith(f"click: no positive among {ROWS:,} labels on {event['day']}, about ")
    assert served(tmp_path / "run") == [str(day) for day in DAYS if day not in DAYS[3:5]]
    refused = events(tmp_path / "run", "export_refused")
    assert {event["window_end"] for event in refused} == {str(day) for day in DAYS[3:5]}
    # A model of nothing but zeros shows on the first day after it. Both windows are left out, in one recovery.
    (event,) = events(tmp_path / "run", "recovery")
    assert event["day"] == str(DAYS[5])
    assert list(event["skipped"]) == [str(DAYS[3]), str(DAYS[4])]
    assert any(rule.startswith("click: calibration 0.0") for rule in event["rules"])
    assert 0.7 < metrics(tmp_path / "run", DAYS[5])["tasks"]["click"]["calibration"] < 1.4


@pytest.mark.slow
def test_shuffled_labels_are_never_served(log, tmp_path):
    bad = poisoned(log, DAYS[0], tmp_path / "log", lambda table: {})
    for day in DAYS[3:]:
        change(bad, day, lambda table: {"click": np.random.default_rng(0).permutation(table["click"].to_numpy())})
    go(bad, tmp_path / "run")
    assert served(tmp_path / "run") == [str(day) for day in DAYS[:3]]
    assert [event["window_end"] for event in events(tmp_path / "run", "export_refused")] == [str(d) for d in DAYS[3:]]


def test_the_first_positives_of_a_rare_task_are_no_divergence_and_soon_learned(log, tmp_path):
    bad = poisoned(log, DAYS[0], tmp_path / "log", lambda table: {"share": np.zeros(table.num_rows)})
    alone = "tasks={share: {kind: binary}}"
    train(bad, tmp_path / "run", alone, "export.when=never", "trainer.batch_size=64")
    assert {json.loads(line)["event"] for line in (tmp_path / "run" / "events.jsonl").open()} <= {"odd_day"}
    assert 0.3 < metrics(tmp_path / "run", DAYS[5])["tasks"]["share"]["calibration"] < 3


def test_a_day_on_which_every_row_weighs_nothing_has_no_labels(log, tmp_path):
    bad = poisoned(log, DAYS[1], tmp_path / "log", lambda table: {"weight": np.zeros(table.num_rows, np.float32)})
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = configs.load(tmp_path / "config.yaml", [f"data={{path: {bad}, weight: weight}}"])
    predictions = {"click": np.linspace(0.1, 0.9, ROWS, dtype=np.float32), "watch_time": np.full(ROWS, 7.0, np.float32)}
    got = evaluate(config, DayLog(bad), DAYS[1], predictions)
    assert {name: task["labels"] for name, task in got.items()} == {"click": 0, "watch_time": 0}
    assert got["click"]["spread"] == pytest.approx(0.8)
    assert got["watch_time"]["spread"] == 0
    predictions["click"][5] = np.nan
    assert np.isnan(evaluate(config, DayLog(bad), DAYS[1], predictions)["click"]["spread"])


def test_calibration_of_a_regression_is_the_ratio_of_the_sums(log, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = configs.load(tmp_path / "config.yaml", [f"data.path={log}"])
    predictions = {"click": np.full(ROWS, 0.3), "watch_time": np.linspace(0, 20, ROWS)}
    got = evaluate(config, DayLog(log), DAYS[1], predictions)["watch_time"]
    observed = pq.read_table(log / f"date={DAYS[1]}")["watch_time_s"].to_numpy()
    assert got["calibration"] == pytest.approx(10 * ROWS / observed.sum(), rel=1e-5)


def test_the_second_day_after_a_window_may_be_odd_too(log, tmp_path):
    bad = poisoned(log, DAYS[4], tmp_path / "log", lambda table: {"click": 1 - table["click"].to_numpy()})
    train(bad, tmp_path / "run", "export.when=never", "trainer.stride_days=2")
    # The model was in line on the day before: it is the day.
    first, *_ = events(tmp_path / "run", "odd_day")
    assert (first["window_end"], first["day"]) == (str(DAYS[2]), str(DAYS[4]))
    assert list(metrics(tmp_path / "run", DAYS[2])["odd"]) == [str(DAYS[4])]
    (recovery,) = events(tmp_path / "run", "recovery")  # Of the window that was trained on it.
    assert list(recovery["skipped"]) == [str(DAYS[4])]
