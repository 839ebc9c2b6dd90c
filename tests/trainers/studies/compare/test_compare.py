"""`tfstable compare` on two real runs: its figures by hand, its files, and bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainers.commands import complaint
from tests.trainers.runs import DAYS, start
from tfstable.data.log import DayLog
from tfstable.metrics import (
    auc,
    auc_standard_error,
    average_precision_difference,
    gauc,
    mean_average_precision,
    mrr,
    ndcg,
    normalised_entropy_difference,
    recall,
    rmse,
)
from tfstable.serving.predict import predict
from tfstable.sources.simulate import simulate
from trainers.studies.compare.compare import compare, slices

DAY, ROWS = DAYS[2], 2000


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A log of three days, and the runs a and b over the first two, which differ in their seed."""
    path = tmp_path_factory.mktemp("compared")
    simulate(path / "log", days=3, rows_per_day=ROWS, users=100, videos=100)
    shutil.copytree(path / "log", path / "two")
    shutil.rmtree(path / "two" / f"date={DAY}")
    for number, name in enumerate("ab"):
        score = "export.user_columns=[user_id]", f"export.score_weights={{click: 1, follow: {number}}}"
        start(path / "two", path / name, f"trainer.seed={number}", "trainer.passes=3", *score)
    return path


def compared(place: Path, first: str, second: str, **options) -> dict:
    return compare(place / first, place / second, DayLog(place / "log"), DAY, lambda *_: None, **options)


def test_the_figures_are_those_of_the_predictions(place, tmp_path):
    report = compared(place, "a", "b", slice_by="category", k=5, samples=200)
    assert (report["rows"], report["weight"], report["group"]) == (ROWS, "weight", "user_id")
    assert report["trained_to"] == {"first": str(DAYS[1]), "second": str(DAYS[1])}
    log, tables = DayLog(place / "log"), {}
    for name in "ab":
        version = place / name / "export" / "1"
        predict(version, log, [DAY], tmp_path / f"{name}.parquet", ["user_id", "category"], lambda *_: None)
        tables[name] = pq.read_table(tmp_path / f"{name}.parquet").to_pandas()
    day = pq.read_table(log.path / f"date={DAY}").to_pandas()
    assert report["groups"] == day["user_id"].nunique()
    a, b = tables["a"], tables["b"]
    for task in ("click", "follow", "watch_time"):
        got, p, q = report["tasks"][task], a[task].astype(float), b[task].astype(float)
        apart = 2 * (p - q).abs() / (p.abs() + q.abs())
        assert 0.01 < got["difference"]["mean"] == pytest.approx(np.average(apart, weights=day["weight"]))
        assert got["spearman"] == pytest.approx(p.rank().corr(q.rank()))
        for category, rows in apart.groupby(a["category"]):
            if category in got["slices"]:
                mean = np.average(rows, weights=day["weight"][rows.index])
                assert got["slices"][category] == {"rows": len(rows), "difference": pytest.approx(mean)}
        kept = []
        for _, rows in a.groupby("user_id"):
            if len(rows) > 5:
                tops = [
                    set(t[task].loc[rows.index].sort_values(ascending=False, kind="stable").index[:5]) for t in (a, b)
                ]
                kept.append(len(tops[0] & tops[1]) / 5)
        assert got["churn"] == {"replaced": pytest.approx(1 - np.mean(kept)), "groups": len(kept)}
    p, q = a["click"].astype(float), b["click"].astype(float) + b["follow"]
    assert report["score"]["second"] == {"click": 1, "follow": 1}
    assert report["score"]["spearman"] == pytest.approx(p.rank().corr(q.rank()))
    assert report["score"]["churn"]["replaced"] > 0
    for side, table in (("first", a), ("second", b)):
        arguments = day["click"], table["click"], day["weight"]
        got = report["tasks"]["click"]["auc"][side]
        assert got["value"] == pytest.approx(auc(*arguments))
        assert got["se"] == pytest.approx(auc_standard_error(*arguments))
        assert got["bootstrap_interval"][0] < got["value"] < got["bootstrap_interval"][1]
        expected = rmse(day["watch_time_s"], table["watch_time"], day["weight"])
        assert report["tasks"]["watch_time"]["rmse"][side]["value"] == pytest.approx(expected)
    difference = report["tasks"]["click"]["auc"]["difference"]
    width = difference["bootstrap_interval"][1] - difference["bootstrap_interval"][0]
    assert width == pytest.approx(difference["interval"][1] - difference["interval"][0], rel=0.4)
    of_lists = {"ndcg@5": ndcg, "recall@5": recall, "mrr": mrr, "map": mean_average_precision, "gauc": gauc}
    for name, metric in of_lists.items():
        got, keys = report["tasks"]["click"][name], {"k": 5} if "@" in name else {}
        for side, table in (("first", a), ("second", b)):
            expected = metric(day["click"], table["click"], day["user_id"], day["weight"], **keys)
            assert got[side]["value"] == pytest.approx(expected, abs=1e-6)  # The file has float32.
        low, high = got["difference"]["bootstrap_interval"]
        assert low < got["difference"]["value"] < high
        assert high - low == pytest.approx(4 * got["difference"]["se"], rel=0.3)
    for name, metric in {"pr_auc": average_precision_difference, "ne": normalised_entropy_difference}.items():
        expected = metric(day["click"], a["click"], b["click"], day["weight"])
        got = report["tasks"]["click"][name]
        assert got["difference"]["value"] == pytest.approx(expected.difference, abs=1e-6)
        assert got["difference"]["se"] == pytest.approx(expected.difference_se, rel=1e-3)


def test_a_model_does_not_differ_from_itself(place):
    report = compared(place, "a", "a/export/1", samples=20)
    for task in report["tasks"].values():
        assert task["difference"]["mean"] == task["difference"]["quantiles"]["0.99"] == 0
        assert (task["spearman"], task["kendall"]) == (pytest.approx(1), pytest.approx(1))
        assert task["churn"]["replaced"] == 0
        metric = task["auc"] if task["kind"] == "binary" else task["rmse"]
        assert metric["difference"]["value"] == metric["difference"]["se"] == 0


def test_versions_are_compared_as_their_runs_are_and_only_the_day_is_read(place, tmp_path):
    shutil.copytree(place / "log", tmp_path / "log")
    for day in DAYS[:2]:
        (tmp_path / "log" / f"date={day}" / "part-0.parquet").write_text("no Parquet")
    runs = compared(place, "a", "b", samples=20)
    versions = [place / name / "export" / "1" for name in "ab"]
    alone = compare(
        *versions, DayLog(tmp_path / "log"), DAY, lambda *_: None, group="user_id", slice_by=None, samples=20
    )
    assert alone == runs
    assert compare(*versions, DayLog(tmp_path / "log"), DAY, lambda *_: None)["tasks"]["click"]["churn"] is None


def test_the_command_prints_tables_and_writes_json_and_a_picture(place, run, tmp_path):
    arguments = [place / "a", place / "b", "--data", place / "log", "--samples", 50]
    day = pq.read_table(place / "log" / f"date={DAY}")
    status, printed, errors = run("compare", *arguments, "--slice", "video_age_days", "--out", tmp_path / "out")
    assert (status, errors) == (0, "")
    assert f"2,000 rows, {len(np.unique(day['user_id']))} values of user_id" in printed
    assert "top 10 replaced" in printed
    assert "prediction difference by video_age_days" in printed
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert f"{report['tasks']['click']['difference']['mean']:.4f}" in printed
    assert report["day"] == str(DAY)
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.json", "compare.png"]
    status, printed, _ = run(
        "compare", *(p / "export/1" for p in arguments[:2]), "--data", place / "log", "--day", DAYS[1]
    )
    assert status == 0
    assert printed.count("2025-01-02 is not new to it") == 2
    assert "name their column with --group" in printed


def test_bad_input_is_one_line(place, run, tmp_path):
    version = place / "a" / "export" / "1"
    for name, damage in {"old": ["tasks"], "other": ["label"]}.items():
        shutil.copytree(version, tmp_path / name)
        stored = json.loads((version / "model_card.json").read_text())
        del stored["checksum"]
        if damage == ["tasks"]:
            del stored["tasks"]
        else:
            stored["tasks"]["click"]["label"] = "clicked"
        (tmp_path / name / "model_card.json").write_text(json.dumps(stored))
    shutil.copytree(place / "a", tmp_path / "unpublished", ignore=lambda *_: ["export"])
    shutil.copytree(place / "log", tmp_path / "log")
    path = tmp_path / "log" / f"date={DAY}" / "part-0.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["follow"]), path)
    (tmp_path / "file").write_text("")

    def said(first, second, *arguments, log=place / "log") -> str:
        return complaint(run("compare", first, second, "--data", log, "--out", tmp_path / "out", *arguments))

    assert "unpublished: no export yet; publish one with `tfstable export --model-dir" in said(
        version, tmp_path / "unpublished"
    )
    assert "old: an older export, which does not say its label columns" in said(version, tmp_path / "old")
    assert "compare models of the same tasks and labels" in said(version, tmp_path / "other")
    assert "not an export of tfstable" in said(tmp_path, version)
    assert "no column follow; the file has" in said(version, version, log=tmp_path / "log")
    assert "no column nobody; the file has" in said(version, version, "--group", "nobody")
    assert "--slice tags: holds lists in" in said(version, version, "--slice", "tags")
    assert "no day 2024-01-01" in said(version, version, "--day", "2024-01-01")
    assert "file: not a directory; name one" in said(version, version, "--out", tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_slices_are_values_frequent_values_or_quantiles():
    few = slices(pa.chunked_array([pa.array(["b", "a", None, "b"]).dictionary_encode()]))
    assert list(few) == ["b", "a", "missing", "b"]
    assert list(few.categories) == ["b", "a", "missing"]
    many = slices(pa.chunked_array([[f"v{i}" for i in range(12)] + ["v11"]]))
    assert (many.categories[0], many.categories[-1]) == ("v11", "other")
    assert (many == "other").sum() == 2
    numbers = slices(pa.chunked_array([[*range(100), None]]))
    assert len(numbers.categories) == 11
    assert numbers.value_counts().iloc[:10].tolist() == [10] * 10
    assert list(slices(pa.chunked_array([[1, None, 3, 1]]))) == ["1", "missing", "3", "1"]
