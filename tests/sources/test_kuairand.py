import os
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tfstable.sources.kuairand import (
    CLICKS,
    LOG_FILES,
    OUTCOMES,
    SCHEMA,
    USER_FILE,
    VIDEO_FILE,
    prepare,
    prepare_with_histories,
)

RAW = Path(os.environ.get("TFSTABLE_KUAIRAND_RAW", Path(__file__).parents[3] / "shared/data/kuairand-pure-slice"))
SLICE_DAYS = [date(2022, 4, 25 + i) if i < 6 else date(2022, 5, i - 5) for i in range(12)]


def read(log, day):
    return pd.read_parquet(log / f"date={day}" / "part-0.parquet", partitioning=None)


@pytest.fixture(scope="module")
def raw():
    """The real raw log as pandas reads it: the slice, or what of the official archive are the slice's days."""
    directory = next((d for d in (RAW, RAW / "data") if (d / LOG_FILES[1]).is_file()), None)
    if directory is None:
        pytest.skip(f"no KuaiRand files in {RAW}; set TFSTABLE_KUAIRAND_RAW")
    log = pd.read_csv(directory / LOG_FILES[1])
    return log, pd.read_csv(directory / USER_FILE), pd.read_csv(directory / VIDEO_FILE)


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("kuairand") / "log"
    return out, prepare(RAW, out)


class TestRealLog:
    def test_every_row_is_there_once_in_the_order_of_time(self, raw, prepared):
        log, _, _ = raw
        out, days = prepared
        assert set(SLICE_DAYS) <= set(days)
        for day in SLICE_DAYS:
            expected = log[log["date"] == int(f"{day:%Y%m%d}")].sort_values("time_ms", kind="stable")
            rows = read(out, day)
            names = [name for name in expected.columns if name != "date"]
            pd.testing.assert_frame_equal(rows[names], expected[names].reset_index(drop=True))

    def test_known_figures(self, raw, prepared):
        if len(raw[0]) != 198_895:
            pytest.skip("the figures are the slice's")
        days = pd.concat([read(prepared[0], day) for day in SLICE_DAYS])
        assert len(days) == 198_895
        assert days.is_click.mean() == pytest.approx(0.4412, abs=5e-5)
        assert days.long_view.mean() == pytest.approx(0.3100, abs=5e-5)
        assert days[[name for name in raw[0].columns if name != "date"]].duplicated().sum() == 4_931
        last = read(prepared[0], date(2022, 5, 6))
        assert (len(last), last.is_like.sum(), last.is_profile_enter.sum()) == (13_834, 218, 225)

    def test_users_and_videos_are_joined(self, raw, prepared):
        _, users, videos = raw
        rows = read(prepared[0], SLICE_DAYS[0])
        ids = rows[["user_id", "video_id"]]
        expected = ids.merge(users, on="user_id", how="left").merge(videos, on="video_id", how="left")
        for name in expected.columns:
            pd.testing.assert_series_equal(rows[name], expected[name], check_dtype=False)

    def test_derived_columns(self, raw, prepared):
        day = date(2022, 5, 6)  # a Friday
        rows = read(prepared[0], day)
        assert (rows.hour == rows.hourmin // 100).all()
        assert rows.hour.between(0, 23).all()
        assert (rows.weekday == 4).all()
        assert (rows.duration_s.isna() == (rows.duration_ms == 0)).all()
        np.testing.assert_allclose(rows.duration_s.dropna(), rows.duration_ms[rows.duration_ms > 0] / 1000, rtol=1e-6)
        np.testing.assert_allclose(rows.play_time_s, rows.play_time_ms / 1000, rtol=1e-6)
        assert (rows.video_age_days == (pd.Timestamp(day) - pd.to_datetime(rows.upload_dt)).dt.days).all()

    def test_row_groups_are_small(self, prepared):
        metadata = pq.read_metadata(prepared[0] / "date=2022-04-30" / "part-0.parquet")
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [
            16_384,
            metadata.num_rows - 16_384,
        ]

    def test_nothing_is_left_to_do_the_second_time(self, prepared):
        out, _ = prepared
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
        assert prepare(RAW, out) == []
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


LOG_HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
USERS_FROM, VIDEOS_FROM = (SCHEMA.get_field_index(name) for name in ("is_lowactive_period", "author_id"))
USER_NAMES, VIDEO_NAMES = SCHEMA.names[USERS_FROM:VIDEOS_FROM], SCHEMA.names[VIDEOS_FROM:]


def impression(user, video, day, time_ms, hourmin=1300):
    return f"{user},{video},{day},{hourmin},{time_ms},1,0,0,0,0,0,1,5250,8000,0,0,0,0,1"


@pytest.fixture
def made(tmp_path):
    """A tiny raw log of two days in the archive's layout; user 8 and video 6 are in no side file."""
    data = tmp_path / "KuaiRand-Pure" / "data"
    data.mkdir(parents=True)
    rows = [
        impression(7, 5, 20220422, 300),
        impression(8, 5, 20220422, 100),
        impression(7, 6, 20220422, 200),
        impression(7, 6, 20220422, 200),
        impression(7, 5, 20220423, 400),
    ]
    (data / LOG_FILES[1]).write_text("\n".join([LOG_HEADER, *rows, ""]))
    strings = {name for name in SCHEMA.names if str(SCHEMA.field(name).type) == "string"}
    user = ["a" if name in strings else "-124" for name in USER_NAMES]
    video = ["2022-04-10" if name == "upload_dt" else '"12,65"' if name in strings else "4.0" for name in VIDEO_NAMES]
    (data / USER_FILE).write_text(f"user_id,{','.join(USER_NAMES)}\n7,{','.join(user)}\n")
    (data / VIDEO_FILE).write_text(f"video_id,{','.join(VIDEO_NAMES)}\n5,{','.join(video)}\n")
    return data


def test_the_archives_layout_and_missing_users_and_videos(made, tmp_path):
    steps = []
    days = prepare(made.parent, tmp_path / "log", progress=lambda done, total, what: steps.append((done, total, what)))
    assert days == [date(2022, 4, 22), date(2022, 4, 23)]
    rows = read(tmp_path / "log", days[0])
    assert rows.time_ms.tolist() == [100, 200, 200, 300]
    assert rows.user_active_degree.fillna("null").tolist() == ["null", "a", "a", "a"]
    assert rows.is_live_streamer.fillna(0).tolist() == [0, -124, -124, -124]
    assert rows.tag.fillna("null").tolist() == ["12,65", "null", "null", "12,65"]
    assert rows.video_age_days.fillna(-1).tolist() == [12, -1, -1, 12]
    assert rows.play_time_s.tolist() == [5.25] * 4
    assert steps[0] == (0, 3, f"reading {LOG_FILES[1]}")
    assert steps[-3:] == [(0, 2, "writing 2022-04-22"), (1, 2, "writing 2022-04-23"), (2, 2, "done")]


def test_a_new_day_is_added_and_the_others_stay(made, tmp_path):
    out = tmp_path / "log"
    prepare(made, out)
    before = (out / "date=2022-04-22/part-0.parquet").stat().st_mtime_ns
    shutil.rmtree(out / "date=2022-04-23")
    (made / LOG_FILES[0]).write_text("\n".join([LOG_HEADER, impression(7, 5, 20220421, 50), ""]))
    assert prepare(made, out) == [date(2022, 4, 21), date(2022, 4, 23)]
    assert (out / "date=2022-04-22/part-0.parquet").stat().st_mtime_ns == before


def test_other_logs_are_left_alone(made, tmp_path):
    (made / "log_random_4_22_to_5_08_pure.csv").write_text("not a log")
    assert len(prepare(made, tmp_path / "log")) == 2


def test_outcomes_are_columns():
    assert set(OUTCOMES) < set(SCHEMA.names)


def replace_line(path, line, text):
    lines = path.read_text().split("\n")
    lines[line - 1] = text
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        (LOG_FILES[1], 4, "7,6,20220422", r"pure\.csv, line 4: Expected 19 columns, got 3"),
        (LOG_FILES[1], 4, impression("x", 5, 20220422, 1), r"pure\.csv, line 4: column user_id: .*'x'"),
        (LOG_FILES[1], 4, impression(7, 5, 20221322, 1), r"line 4: column date must be YYYYMMDD, got 20221322"),
        (LOG_FILES[1], 4, impression(7, 5, 20220422, 1, 2460), r"line 4: column hourmin must be HHMM, got 2460"),
        (LOG_FILES[1], 1, LOG_HEADER.replace("is_like", "like"), r"pure\.csv: no column is_like"),
        (LOG_FILES[1], 7, impression(7, 5, 20220423, 9), r"pure\.csv, line 7: the file ends within the line"),
        (USER_FILE, 1, "user_id,a", r"user_features_pure\.csv: no column"),
        (VIDEO_FILE, 1, "video_id,a", r"video_features_basic_pure\.csv: no column"),
    ],
)
def test_damage_is_named_and_nothing_is_written(made, tmp_path, file, line, text, message):
    replace_line(made / file, line, text)
    with pytest.raises(ValueError, match=message):
        prepare(made, tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_bad_upload_dates_and_double_users_are_named(made, tmp_path):
    users = (made / USER_FILE).read_text()
    (made / USER_FILE).write_text(users + users.split("\n")[1] + "\n")
    with pytest.raises(ValueError, match=r"user_features_pure\.csv: user_id 7 has more than one line"):
        prepare(made, tmp_path / "log")
    (made / USER_FILE).write_text(users)
    (made / VIDEO_FILE).write_text((made / VIDEO_FILE).read_text().replace("2022-04-10", "soon"))
    with pytest.raises(ValueError, match=r"video_features_basic_pure\.csv: column upload_dt must be YYYY-MM-DD"):
        prepare(made, tmp_path / "log")


@pytest.mark.parametrize("file", [USER_FILE, VIDEO_FILE])
def test_missing_files_are_named(made, tmp_path, file):
    (made / file).unlink()
    with pytest.raises(ValueError, match=f"{file}: cannot be read"):
        prepare(made, tmp_path / "log")


def test_a_directory_without_logs_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"neither it nor its folder data holds log_standard_4_08_to_4_21_pure\.csv or"
    ):
        prepare(tmp_path, tmp_path / "log")


def test_histories_are_added_and_nothing_else_changes(made, tmp_path):
    prepare(made, tmp_path / "plain")
    days = prepare_with_histories(made, tmp_path / "log")
    assert days == [date(2022, 4, 22), date(2022, 4, 23)]
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "_history.json",
        *(f"date={day}" for day in days),
    ]
    for day in days:
        pd.testing.assert_frame_equal(
            read(tmp_path / "log", day).drop(columns=CLICKS.names), read(tmp_path / "plain", day)
        )
    last = read(tmp_path / "log", days[1]).iloc[0]
    assert last.seen_video.tolist() == [6, 6, 5]
    assert last.seen_gap.tolist() == [200, 200, 100]
    assert prepare_with_histories(made, tmp_path / "log") == []


def test_days_with_and_without_histories_are_not_mixed(made, tmp_path):
    prepare_with_histories(made, tmp_path / "log")
    with pytest.raises(ValueError, match="log: its days have histories; add --history, or choose another --out"):
        prepare(made, tmp_path / "log")
    prepare(made, tmp_path / "plain")
    with pytest.raises(ValueError, match=r"plain: a log without _history\.json"):
        prepare_with_histories(made, tmp_path / "plain")
    with pytest.raises(ValueError, match="neither"):
        prepare_with_histories(tmp_path, tmp_path / "none")
    assert not (tmp_path / "none").exists()
