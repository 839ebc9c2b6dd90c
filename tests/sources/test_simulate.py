from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tfstable.metrics import auc, auc_standard_error, calibration, expected_calibration_error
from tfstable.sources.feed_world import CATEGORIES, day_of_feed
from tfstable.sources.simulate import SCHEMA, TRUE_PROBABILITY, simulate

FIRST = date(2025, 1, 1)


def file(log, day):
    return log / f"date={FIRST + timedelta(days=day)}" / "part-0.parquet"


def read(log, day):
    return pd.read_parquet(file(log, day), partitioning=None)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Eight ordinary days at the default size."""
    out = tmp_path_factory.mktemp("simulated") / "log"
    simulate(out, days=8)
    return out


def test_layout_and_types(log):
    assert sorted(child.name for child in log.iterdir()) == [f"date=2025-01-0{day}" for day in range(1, 9)]
    metadata = pq.read_metadata(file(log, 0))
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [16_384] * 3 + [848]
    assert pq.read_schema(file(log, 0)).equals(SCHEMA)


def test_rates(log):
    rows = pd.concat([read(log, day) for day in range(8)])
    assert rows.click.mean() == pytest.approx(0.30, abs=0.05)
    assert rows.like.mean() == pytest.approx(0.02, abs=0.007)
    assert rows.share.mean() == pytest.approx(0.005, abs=0.002)
    assert rows.follow.mean() == pytest.approx(0.03, abs=0.015)
    assert rows.weight.between(0.2, 3).all()
    assert rows.weight.mean() == pytest.approx(1, abs=0.15)
    assert rows.user_age_days.isna().mean() == pytest.approx(0.05, abs=0.02)
    assert rows.author_followers.isna().mean() == pytest.approx(0.03, abs=0.025)
    for heavy_tailed in ("author_followers", "user_followed", "watch_time_s"):
        assert rows[heavy_tailed].max() > 20 * rows[heavy_tailed].mean() > 20 * rows[heavy_tailed].median()


def test_labels_agree_with_each_other(log):
    rows = read(log, 3)
    clicked = rows.click == 1
    assert (rows.follow.isna() == ~clicked).all()
    assert not rows[["like", "share"]][~clicked].any().any()
    assert not rows[["click", "like", "share", "watch_time_s"]].isna().any().any()
    assert (rows.watch_time_s > 0).all()
    assert rows.watch_time_s[clicked].mean() > 4 * rows.watch_time_s[~clicked].mean()


def test_rows_are_in_the_order_of_time(log):
    hour = read(log, 0).hour
    assert hour.is_monotonic_increasing
    assert set(hour) == set(range(24))
    assert hour.value_counts().max() > 3 * hour.value_counts().min()


@pytest.mark.parametrize(
    ("label", "least", "most"), [("click", 0.76, 0.80), ("like", 0.83, 0.90), ("share", 0.83, 0.91)]
)
def test_true_probabilities_are_true(log, label, least, most):
    rows = pd.concat([read(log, day) for day in range(8)])
    true = rows[TRUE_PROBABILITY[label]]
    noise = 1 / np.sqrt(rows[label].sum())
    assert calibration(rows[label], true) == pytest.approx(1, abs=4 * noise)
    assert expected_calibration_error(rows[label], true) < 4 * rows[label].mean() * noise * np.sqrt(20)
    assert least < auc(rows[label], true) < most
    assert auc(rows["follow"], rows["true_follow"]) > 0.75


def test_ids_tell_more_than_side_features(log):
    """Click rates of the past week, smoothed, combined as naive Bayes does: a floor of what a model can learn."""
    past, today = pd.concat([read(log, day) for day in range(7)]), read(log, 7)
    base = past.click.mean()

    def evidence(keys, strength=20):
        seen = past.groupby(keys).click.agg(["sum", "size"])
        rate = (seen["sum"] + strength * base) / (seen["size"] + strength)
        rate = today[keys].merge(rate.rename("rate"), left_on=keys, right_index=True, how="left").rate.fillna(base)
        return np.log(rate / (1 - rate)).to_numpy()

    for rows in (past, today):
        rows["followed_bin"] = np.log1p(rows.user_followed).round()
        rows["followers_bin"] = np.log(rows.author_followers.fillna(0) + 1).round()
        rows["duration_bin"] = np.log(rows.duration_s).round(1)
    side = evidence(["user_country", "category"]) + evidence(["user_device", "hour"])
    side += evidence(["followed_bin"]) + evidence(["followers_bin"]) + evidence(["duration_bin"])
    ids = evidence(["user_id"]) + evidence(["video_id"])
    error = auc_standard_error(today.click, today.true_click)
    assert auc(today.click, side) > 0.55
    assert auc(today.click, side) + 10 * error < auc(today.click, side + ids)
    assert auc(today.click, side + ids) + 5 * error < auc(today.click, today.true_click)


def test_a_day_is_a_pure_function(log, tmp_path):
    simulate(tmp_path / "short", days=2)
    simulate(tmp_path / "other", days=1, seed=1)
    for day in range(2):
        assert file(tmp_path / "short", day).read_bytes() == file(log, day).read_bytes()
    assert file(tmp_path / "other", 0).read_bytes() != file(log, 0).read_bytes()


def test_a_shock_is_abrupt_and_returns(log, tmp_path):
    simulate(tmp_path / "shocked", days=3, shock_days=[1])
    for day in (0, 2):
        assert file(tmp_path / "shocked", day).read_bytes() == file(log, day).read_bytes()
    calm, shocked = read(log, 1), read(tmp_path / "shocked", 1)
    assert abs(shocked.true_click.mean() - calm.true_click.mean()) > 0.08
    assert shocked.category.value_counts(normalize=True).max() > 0.25
    assert auc(shocked.click, shocked.true_click) > 0.76  # Still to be learned, but from that day alone.


def test_tastes_change_for_good_and_the_columns_stay(log, tmp_path):
    simulate(tmp_path / "changed", days=2, taste_change_days=[1])
    assert file(tmp_path / "changed", 0).read_bytes() == file(log, 0).read_bytes()
    before, *after = (day_of_feed(0, day, 2_000, 1_000, False, changes) for day, changes in [(2, 0), (2, 1), (3, 1)])
    for one, other in ((before.users, after[0].users), (before.videos, after[0].videos)):
        for name in one._fields:
            same = name not in ("click", "like", "share", "follow", "taste")
            assert (np.array_equal(getattr(one, name), getattr(other, name), equal_nan=same)) == same, name
    for kind, kept in (("users", 0.99), ("videos", 0.95)):  # What is drawn anew on the second day is so on the third.
        old, first, second = (getattr(feed, kind) for feed in (before, *after))
        there = np.isin(first.id, second.id)
        assert there.mean() == pytest.approx(kept)
        tastes = [feed.taste[np.isin(feed.id, first.id[there])].ravel() for feed in (old, first, second)]
        assert abs(np.corrcoef(tastes[0], tastes[1])[0, 1]) < 0.35
        assert np.corrcoef(tastes[1], tastes[2])[0, 1] > 0.99
    changed = read(tmp_path / "changed", 1)
    assert 0.2 < changed.click.mean() < 0.4
    assert auc(changed.click, changed.true_click) > 0.75  # There is as much to learn as before.


def test_a_day_larger_than_a_chunk(tmp_path):
    simulate(tmp_path, days=1, rows_per_day=300_000)
    rows = read(tmp_path, 0)
    assert len(rows) == 300_000
    assert rows.hour.is_monotonic_increasing
    assert not rows[:1000].equals(rows[262_144:263_144].reset_index(drop=True))
    assert calibration(rows.click, rows.true_click) == pytest.approx(1, abs=0.015)


def test_users_and_videos_come_and_go():
    days = {day: day_of_feed(0, day, users=2_000, videos=1_000, shock=False) for day in (0, 1, 19, 20, 100)}
    for day, users, videos in ((1, 0.99, 0.95), (19, 0.81, 0.05), (20, 0.8, 0), (100, 0, 0)):
        assert np.isin(days[0].users.id, days[day].users.id).mean() == pytest.approx(users)
        assert np.isin(days[0].videos.id, days[day].videos.id).mean() == pytest.approx(videos)
    for feed in days.values():
        assert len(np.unique(feed.users.id)) == 2_000
        assert len(np.unique(feed.videos.id)) == 1_000
        assert set(feed.videos.category) == set(range(len(CATEGORIES)))


def test_tastes_and_rates_drift():
    days = [day_of_feed(0, day, users=2_000, videos=1_000, shock=False) for day in (0, 1, 14)]
    still_there = [np.isin(feed.users.id, days[2].users.id) & np.isin(feed.users.id, days[0].users.id) for feed in days]
    tastes = [feed.users.taste[kept].ravel() for feed, kept in zip(days, still_there, strict=True)]
    assert np.corrcoef(tastes[0], tastes[1])[0, 1] > 0.99
    assert 0.8 < np.corrcoef(tastes[0], tastes[2])[0, 1] < 0.99
    assert len({feed.click for feed in days}) == 3


def test_progress_and_interruption_leave_whole_days(tmp_path):
    calls = []

    def stop_on_the_third_day(done, total, what):
        calls.append((done, total, what))
        if done == 2_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, days=4, rows_per_day=1_000, progress=stop_on_the_third_day)
    assert calls == [(1_000 * day, 4_000, f"simulating 2025-01-0{day + 1}") for day in range(3)]
    assert sorted(child.name for child in tmp_path.iterdir()) == ["date=2025-01-01", "date=2025-01-02"]
    assert len(read(tmp_path, 1)) == 1_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": 0}, "days must be at least 1, got 0"),
        ({"rows_per_day": 0}, "rows_per_day must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"users": 99}, "users must be at least 100, got 99"),
        ({"videos": 19}, "videos must be at least 20, got 19"),
        ({"days": 3, "taste_change_days": [-1]}, "taste_change_days must be between 0 and days - 1 = 2, got -1"),
        ({"days": 3, "shock_days": [1, 3]}, "shock_days must be between 0 and days - 1 = 2, got 3"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path / "log", **arguments)
    assert not (tmp_path / "log").exists()


def test_a_log_is_never_overwritten(tmp_path):
    simulate(tmp_path, days=1, rows_per_day=10)
    with pytest.raises(ValueError, match="already holds a log; remove it or choose another directory"):
        simulate(tmp_path, days=2, rows_per_day=10)
    assert len(read(tmp_path, 0)) == 10


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "log").write_text("a file")
    with pytest.raises(ValueError, match="cannot be written"):
        simulate(tmp_path / "log", days=1, rows_per_day=10)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_seed_is_a_sensible_world(tmp_path, seed):
    simulate(tmp_path, days=1, seed=seed)
    rows = read(tmp_path, 0)
    assert 0.2 < rows.click.mean() < 0.4
    assert 0.75 < auc(rows.click, rows.true_click) < 0.82
    assert auc(rows.like, rows.true_like) > 0.8
