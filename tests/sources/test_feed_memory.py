from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tfstable.metrics import auc, auc_standard_error, calibration
from tfstable.sources.feed_memory import FADES, PULL
from tfstable.sources.feed_world import TASTES, day_of_feed
from tfstable.sources.history import History, write_histories
from tfstable.sources.simulate import SCHEMA, WITHOUT_HISTORY, simulate

DAYS = 5
SMALL = {"rows_per_day": 3_000, "users": 300, "videos": 400}


def file(log: Path, day: int) -> Path:
    return log / f"date={date(2025, 1, 1) + timedelta(days=day)}" / "part-0.parquet"


def read(log: Path, day: int) -> pd.DataFrame:
    return pd.read_parquet(file(log, day), partitioning=None)


def logit(p: pd.Series) -> np.ndarray:
    p = p.to_numpy().astype(np.float64)
    return np.log(p / (1 - p))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    out = tmp_path_factory.mktemp("remembering") / "log"
    simulate(out, days=DAYS, memory=True, **SMALL)
    return out


def test_what_the_history_columns_hold_is_all_that_moves_a_click(log, tmp_path):
    """The same rows without a memory have the same logits but for what the clicked videos' tastes add."""
    simulate(tmp_path / "plain", days=DAYS, **SMALL)
    write_histories(log, tmp_path / "seen", History("user_id", ("video_id",), "click", last=10_000))
    taste = {}
    for day in range(DAYS):
        videos = day_of_feed(0, day, SMALL["users"], SMALL["videos"], shock=False).videos
        taste |= dict(zip(videos.id, videos.taste, strict=True))
    for day in range(DAYS):
        rows, plain = read(tmp_path / "seen", day), read(tmp_path / "plain", day)
        pd.testing.assert_series_equal(rows.video_id, plain.video_id)
        memory = np.zeros((len(rows), TASTES))
        for row, (seen, gap) in enumerate(zip(rows.seen_video, rows.seen_gap, strict=True)):
            for video, days in zip(seen, gap, strict=True):
                memory[row] += FADES ** (days - 1) * taste[video]
        candidates = np.stack([taste[video] for video in rows.video_id])
        added = PULL * (memory * candidates).sum(axis=1) / (1 + np.linalg.norm(memory, axis=1))
        np.testing.assert_allclose(logit(rows.true_click) - logit(plain.true_click), added, atol=2e-3)
    assert np.std(added) > 0.3


def test_both_probabilities_are_true_and_the_history_is_worth_something(log):
    rows = read(log, DAYS - 1)
    for p in (rows.true_click, rows[WITHOUT_HISTORY]):
        assert calibration(rows.click, p) == pytest.approx(1, abs=4 / np.sqrt(rows.click.sum()))
    assert auc(rows.click, rows.true_click) > auc(rows.click, rows[WITHOUT_HISTORY]) + 0.01
    assert auc_standard_error(rows.click, rows.true_click) < 0.01


def test_nobody_remembers_anything_on_the_first_day(log):
    rows = read(log, 0)
    np.testing.assert_allclose(rows[WITHOUT_HISTORY], rows.true_click, rtol=1e-6)


def test_a_day_depends_on_no_later_one_and_is_the_same_again(log, tmp_path):
    simulate(tmp_path / "log", days=DAYS - 2, memory=True, **SMALL)
    for day in range(DAYS - 2):
        assert file(tmp_path / "log", day).read_bytes() == file(log, day).read_bytes()


def test_a_plain_feed_has_no_such_column(tmp_path):
    simulate(tmp_path / "log", days=1, **SMALL)
    assert list(read(tmp_path / "log", 0).columns) == SCHEMA.names
