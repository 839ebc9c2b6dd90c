"""The doctor on a healthy run, on a log with planted faults, and on a task that is not trained."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import complaint, tfstable
from tests.trainers.runs import load, train
from tfstable.data.log import DayLog
from tfstable.locks import locked
from tfstable.sources.simulate import simulate
from trainers import Run
from trainers.studies.doctor import Examination, Finding, examine, findings
from trainers.studies.doctor.network import LayerFacts, layer_facts
from trainers.studies.doctor.page import page
from trainers.studies.doctor.report import markdown, write_report
from trainers.studies.doctor.updates import updates
from trainers.studies.doctor.weight_rules import weight_findings
from trainers.training.loop import MovingWindow

ROWS = 2000
DAYS = [date(2025, 1, day) for day in range(1, 8)]
BEGIN = DAYS[4]  # The first day with planted faults.


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "log"
    simulate(path, days=len(DAYS), rows_per_day=ROWS, users=200, videos=400)
    return path


@pytest.fixture(scope="module")
def run(log, tmp_path_factory) -> Path:
    """A run on the first four days, healthy but for one task, which no step trains."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(load(log, f"data.until={DAYS[3]}", "export.when=never", "tasks.like={kind: binary, weight: 0}"), path)
    return path


@pytest.fixture(scope="module")
def frozen(run) -> Examination:
    return examine(Run.of(run))


@pytest.fixture(scope="module")
def healthy(frozen) -> Examination:
    """The examination without that task."""
    config = frozen.config.model_copy(update={"tasks": {n: t for n, t in frozen.config.tasks.items() if n != "like"}})
    return replace(frozen, config=config)


@pytest.fixture(scope="module")
def sick(run, healthy, log, tmp_path_factory) -> Examination:
    """The same run, with a log in which each fault has a column of its own."""
    path = tmp_path_factory.mktemp("edited") / "log"
    rng = np.random.default_rng(0)
    for day in DAYS:
        table = pq.read_table(next((log / f"date={day}").glob("*.parquet")))
        if (late := (day - BEGIN).days) >= 0:
            table = edited(table, "category", lambda x: ["comedy"] * len(x))
            table = edited(table, "duration_s", lambda x, late=late: [value * 20 * 3.0**late for value in x])
            table = edited(table, "tags", lambda x: [v if rng.random() < 0.3 else None for v in x])
            table = edited(table, "video_id", lambda x, late=late: [10**9 * (1 + late) + row for row in range(len(x))])
            table = edited(table, "user_followed", lambda x: [value + 500 for value in x])
            table = edited(table, "click", lambda x: [0] * len(x))
            table = edited(table, "watch_time_s", lambda x: [value * 10 for value in x])
        folder = path / f"date={day}"
        folder.mkdir(parents=True)
        pq.write_table(table, folder / "part-0.parquet")
    return replace(examine(Run.of(run, data=path)), config=healthy.config)


def edited(table: pa.Table, column: str, new: Callable[[list], list]) -> pa.Table:
    values = pa.array(new(table[column].to_pylist()), table.schema.field(column).type)
    return table.set_column(table.column_names.index(column), table.schema.field(column), values)


def of(rule: str, e: Examination) -> Finding:
    (found,) = [finding for finding in findings(e) if finding.rule == rule]
    return found


def test_a_healthy_run_has_no_finding(healthy):
    assert findings(healthy) == []
    assert "Nothing is wrong" in markdown(page(healthy))
    assert list(healthy.rows.values()) == [ROWS] * len(DAYS)
    assert healthy.trained_to == DAYS[3]


@pytest.mark.parametrize(
    ("rule", "subject", "line", "remedy"),
    [
        ("constant feature", "features.category", "every row has the same value", "drop features.category"),
        ("drifting scale", "features.duration_s", "fitted standard deviations away", "features.duration_s.clip"),
        ("missing values", "features.tags", "of the rows have no value", "drop features.tags"),
        ("new ids", "features.video_id", "100% of the values never came before", "drop features.video_id"),
        ("drifting quantiles", "features.user_followed", "population stability index", "user_followed.boundaries"),
        ("constant labels", "tasks.click", "all 2,000 labels are 0", "drop tasks.click"),
        ("label rate", "tasks.watch_time", "the label's mean is", "mend column watch_time_s"),
    ],
)
def test_a_planted_fault_is_found_from_its_first_day_on(rule, subject, line, remedy, sick):
    found = of(rule, sick)
    assert (found.subject, found.first, found.last, found.now) == (subject, BEGIN, DAYS[-1], True)
    assert line in found.line
    assert f"since {BEGIN}" in found.line
    assert remedy in found.remedy


def test_nothing_else_is_found(sick):
    assert len(findings(sick)) == 7


def test_days_that_the_log_has_lost_are_named(healthy):
    lost = replace(healthy, fitted=(DAYS[2], DAYS[3]))
    expected = f"fitted on days to {DAYS[1]}, which are gone: {DAYS[2]} to {DAYS[3]} stand in for them"
    assert page(lost).facts[1].endswith(expected)


def test_a_fault_that_has_passed_says_so(healthy):
    facts = {**healthy.inputs["category"]}
    facts[DAYS[3]] = replace(facts[DAYS[3]], missing=0.5)
    found = of("missing values", replace(healthy, inputs={**healthy.inputs, "category": facts}))
    assert (found.first, found.last, found.now) == (DAYS[3], DAYS[3], False)
    assert f"on {DAYS[3]}, not later" in found.line


def test_a_task_that_is_not_trained_is_found(frozen):
    (found,) = findings(frozen)
    assert (found.rule, found.subject) == ("frozen task", "tasks.like")
    assert found.remedy == "tasks.like.weight: 1 (it is 0), or drop tasks.like"


@pytest.fixture(scope="module")
def parts(run) -> MovingWindow:
    return Run.of(run).parts()


def test_dead_units_are_counted_and_found(parts, healthy):
    model, reader = parts.state.learner.model, parts.state.reader
    batch = next(reader.batches((DAYS[0],), 500, ROWS).one_pass(None))
    features, _, _ = reader.layout.unpack(batch)
    dense = next(layer for layer in model.bottom.layers if layer.name == "dense_0")
    dense.bias.assign(np.where(np.arange(16) < 10, -1e3, 1.0))
    dense.kernel.assign(np.where(np.arange(16) == 15, 0.0, dense.kernel.numpy()))
    before = model(features, training=False)
    layers = layer_facts(model, features, 200)
    assert layers["bottom/dense_0"] == LayerFacts(units=16, zero=10, constant=1)
    for task, values in model(features, training=False).items():  # Nothing of the watching is left.
        np.testing.assert_array_equal(values, before[task])
    found = of("dead units", replace(healthy, layers=layers))
    assert found.line == "11 of 16 units are the same for every row (10 of them 0)"
    assert "learning_rate" in found.remedy


def test_a_checkpoint_that_is_deleted_meanwhile_is_left_out(parts, healthy, monkeypatch):
    kept = parts.state.checkpoints.all()
    gone = kept[0]._replace(number=999)
    monkeypatch.setattr(parts.state.checkpoints, "all", lambda: [kept[0], gone, *kept[1:]])
    found = updates(parts.state)  # It leaves the newest checkpoint restored, too.
    assert [(u.since, u.last, u.ratios) for u in found] == [(u.since, u.last, u.ratios) for u in healthy.updates]
    assert parts.state.saved.last == DAYS[3]


def test_weights_that_went_wrong(healthy):
    def rules(**facts) -> list[tuple[str, str]]:
        return [(found.rule, found.subject) for found in weight_findings(replace(healthy, **facts))]

    table, newest = healthy.tables["user_id"], healthy.updates[-1]
    flat = replace(table, rank=1.1)
    wide = replace(table, rows=10**7, dim=16)
    moves = {"bottom/dense_0/kernel": 0.8, "table user_id": 1.5}
    large = replace(newest, ratios=newest.ratios | moves)
    small = replace(newest, ratios={path: r / 1000 for path, r in newest.ratios.items()})
    assert rules(tables={"user_id": flat}) == [("collapsed table", "table user_id")]
    assert rules(tables={"user_id": wide}) == [("unused rows", "table user_id")]
    assert rules(updates=[large]) == [("large updates", "bottom/dense_0/kernel"), ("large updates", "table user_id")]
    assert rules(updates=[small]) == [("small updates", "model")]


def test_a_calibration_that_is_off_is_found_unless_chance_explains_it(healthy):
    def with_predicted(click: float, follow: float) -> Examination:
        windows = [replace(record, tasks=tasks(record.tasks, click, follow)) for record in healthy.windows]
        return replace(healthy, windows=windows)

    def tasks(metrics, click: float, follow: float) -> dict:
        return (
            {
                "click": {**metrics["click"], "predicted": click * metrics["click"]["positives"]},
                "follow": {**metrics["follow"], "predicted": follow * metrics["follow"]["positives"]},
            }
            if metrics
            else metrics
        )

    found = of("calibration", with_predicted(2.5, 1.0))
    assert found.subject == "tasks.click"
    assert "optimizer.averaging" in found.remedy
    assert findings(with_predicted(1.9, 2.1)) == []  # A dozen positives a day.


def test_the_figures(healthy):
    tables = healthy.tables
    assert set(tables) == {"user_id", "video_id", "category", "tags", "user_followed"}
    assert 150 < tables["user_id"].trained <= tables["user_id"].ids
    for table in tables.values():
        assert 1 < table.abundance <= table.rank <= 4
    assert [(u.since, u.last) for u in healthy.updates] == [(DAYS[1], DAYS[2]), (DAYS[2], DAYS[3])]
    assert all(
        0 < r < 1 for path, r in healthy.updates[-1].ratios.items() if path.endswith("kernel") and "like" not in path
    )
    days = DayLog(healthy.log).days
    clicks = np.concatenate([t["click"].to_numpy() for t in map(pq.read_table, healthy.log.glob("date=*/*"))])
    labels = healthy.labels["click"]
    assert sum(labels[day].positives for day in days) == clicks.sum()


def test_the_command_writes_only_the_report(run, monkeypatch, capsys, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with locked(run, "another process trains it"):
        status, printed, errors = tfstable(monkeypatch, capsys, "doctor", run, "--out", tmp_path / "page.json")
    assert status == 0, errors
    assert "1. tasks.like, frozen task: the head has not moved" in printed
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == {
        path: when for path, when in before.items() if path.name != ".lock"
    }
    found = json.loads((tmp_path / "page.json").read_text())
    assert [each["subject"] for each in found["findings"]] == ["tasks.like"]
    assert found["labels"]["click"][str(DAYS[0])]["labels"] == ROWS
    assert found["calibration"][str(DAYS[2])]["click"] > 0


def test_the_page_in_markdown(sick, tmp_path):
    for _ in range(2):  # It replaces its own file.
        write_report(sick, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    wrong, tables = text.split("## Tasks: mean label")
    assert "1. **tasks.click**, constant labels: all 2,000 labels are 0" in wrong
    assert "Remedy: " in wrong
    assert "| bottom/dense_0 | 16 |" in tables


def test_wrong_uses_are_one_line(run, log, monkeypatch, capsys, tmp_path):
    def said(*arguments: object) -> str:
        return complaint(tfstable(monkeypatch, capsys, "doctor", *arguments))

    foreign = tmp_path / "notes.md"
    foreign.write_text("mine")
    assert "not a run of tfstable" in said(tmp_path / "nothing")
    assert said(run, "--out", "page.txt") == "--out page.txt: name a file that ends in .md or .json"
    assert "not written by `tfstable doctor`" in said(run, "--out", foreign)
    assert foreign.read_text() == "mine"
    for number in (1, 2):
        shutil.copytree(log / f"date={DAYS[number]}", tmp_path / "earlier" / f"date=2024-12-0{number}")
    assert "no day from 2025-01-01 on, the run's first; name its log with --data" in said(
        run, "--data", tmp_path / "earlier"
    )
