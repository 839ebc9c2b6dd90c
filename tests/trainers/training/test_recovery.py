"""A run that diverges goes back to a model known to be good, and ends healthy: on poisoned days, at too high a rate."""

import json
import threading
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.launch import finish, start_workers
from tests.trainers.poisoned import CONFIG, DAYS, HUNDREDFOLD, ROWS, events, go, healthy_log, poisoned
from tests.trainers.runs import assert_same_run, is_model_weight, metrics, weights
from tfstable.specs import BinaryTask
from trainers.config.divergence import DivergenceConfig, RecoveryConfig
from trainers.health.loss_watch import Batch, LossWatch
from trainers.health.recoveries import Diverged, DivergedError, Rates, Recoveries
from trainers.training.recover import Recovery


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return healthy_log(tmp_path_factory.mktemp("recovery") / "log")


@pytest.fixture(scope="module")
def healthy(log, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("recovery") / "run"
    go(log, run)
    return run


def auc(run: Path, day: date) -> float:
    return metrics(run, day)["tasks"]["click"]["auc"]


def test_a_healthy_run_knows_its_good_checkpoints_and_recovers_from_nothing(healthy):
    assert not (healthy / "events.jsonl").exists()
    about = [json.loads(path.read_text()) for path in sorted(healthy.glob("checkpoints/*/about.json"))]
    assert [saved["good"] for saved in about] == [True, True, False]  # The last day has no next one yet.
    assert auc(healthy, DAYS[5]) > 0.6


@pytest.fixture(scope="module")
def outliers(log, tmp_path_factory) -> Path:
    """The log with a day on which a fifth of a numeric feature is 1e6."""

    def change(table):
        far = np.random.default_rng(0).random(ROWS) < 0.2
        return {"duration_s": np.where(far, 1e6, table["duration_s"].to_numpy()).astype(np.float32)}

    return poisoned(log, DAYS[3], tmp_path_factory.mktemp("outliers") / "log", change)


@pytest.fixture(scope="module")
def recovered(outliers, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("recovered") / "run"
    go(outliers, run)
    return run


def test_a_day_of_outliers_is_left_out(recovered, healthy):
    first, second = events(recovered, "recovery")
    for event in (first, second):
        assert event["why"].startswith("full divergence of loss from batch")
        assert event["window_end"] == str(DAYS[3])
        assert event["rule"] == "no recovery"
        assert event["peak"] > 100 * event["median"]
    assert first["restored"] == second["restored"]
    begin, end = first["skipped"][str(DAYS[3])][0]
    assert begin <= first["batches"][0] < first["batches"][1] <= end < 80
    assert second["skipped"][str(DAYS[3])][0][1] > 80  # It came again: the rest of the window.
    assert second["factor"] == 0.25
    assert metrics(recovered, DAYS[3])["steps"] < 80
    raised = [(event["window_end"], event["factor"]) for event in events(recovered, "rates_raised")]
    assert raised == [(str(DAYS[4]), 0.5), (str(DAYS[5]), 1.0)]  # The rates come back, window by window.
    for day in (DAYS[4], DAYS[5]):
        assert auc(recovered, day) > auc(healthy, day) - 0.02
    assert all(np.isfinite(value).all() for name, value in weights(recovered).items() if is_model_weight(name))


def test_a_day_of_flipped_labels_is_left_out(log, healthy, tmp_path):
    bad = poisoned(log, DAYS[3], tmp_path / "log", lambda table: {"click": 1 - table["click"].to_numpy()})
    go(bad, tmp_path / "run")
    # Evaluated on that day the healthy model looks bad, and so does the one before: the day is odd, not the model.
    assert {(event["window_end"], event["day"]) for event in events(tmp_path / "run", "odd_day")} == {
        (str(DAYS[2]), str(DAYS[3]))
    }
    # Trained on that day it is bad, and the one before is not.
    (event,) = events(tmp_path / "run", "recovery")
    assert event["day"] == str(DAYS[4])
    assert list(event["skipped"]) == [str(DAYS[3])]
    assert metrics(tmp_path / "run", DAYS[3])["steps"] == 0
    assert [path.name for path in (tmp_path / "run").glob("checkpoints/*.diverged")] == [f"{event['newest']}.diverged"]
    for day in (DAYS[4], DAYS[5]):
        assert auc(tmp_path / "run", day) > auc(healthy, day) - 0.02


def test_too_high_a_rate_is_lowered(log, healthy, tmp_path):
    remedy = ("recovery.skip_batches=false", "recovery.rate_factor=0.02")
    go(log, tmp_path / "run", *HUNDREDFOLD, *remedy)
    found = events(tmp_path / "run", "recovery")
    assert found
    assert all(event["skipped"] == {} for event in found)
    # It was never in line with the config's rates: they do not come back.
    assert [event["factor"] for event in found] == pytest.approx([0.02 ** (n + 1) for n in range(len(found))])
    assert events(tmp_path / "run", "rates_raised") == []
    assert {metrics(tmp_path / "run", day)["steps"] for day in DAYS} == {80}
    assert auc(tmp_path / "run", DAYS[5]) > auc(healthy, DAYS[5]) - 0.02


def test_recoveries_are_bounded(log, tmp_path):
    wrong = (*HUNDREDFOLD, "recovery.skip_batches=false", "recovery.rate_factor=1")
    with pytest.raises(DivergedError, match=r"diverged again .* after 1 recoveries from checkpoint 1;"):
        go(log, tmp_path / "run", *wrong, "recovery.most=1")
    assert len(events(tmp_path / "run", "recovery")) == 1
    assert len(events(tmp_path / "run", "diverged_for_good")) == 1


def test_a_run_that_leaves_out_window_after_window_stops(log, tmp_path):
    with pytest.raises(DivergedError, match=r"after 3 recoveries .* events\.jsonl has each\. Lower the learning rate"):
        go(log, tmp_path / "run", *HUNDREDFOLD, "recovery.rate_factor=1", "export.when=last")
    assert not (tmp_path / "run" / "export").exists()
    assert len(events(tmp_path / "run", "recovery")) == 3


def test_rates_come_back_and_a_rise_that_was_too_early_is_put_off():
    rates, factors = Rates(), []
    for what in "RRooooRooooooooo":  # R: a recovery, o: a whole window in line.
        rates.fall(0.5, trained=True) if what == "R" else rates.rise()
        factors.append((what, rates.factor))
    assert factors[:6] == [("R", 0.5), ("R", 0.25), ("o", 0.5), ("o", 1), ("o", 1), ("o", 1)]
    assert factors[6:9] == [("R", 0.5), ("o", 1), ("o", 1)]  # After windows in line at the full rates: as at first.
    early = Rates()
    early.fall(0.25, trained=True)
    early.rise()
    assert early.factor == 0.5
    early.fall(0.5, trained=True)  # Half of the rates was too much still.
    seen = []
    for _ in range(8):
        early.rise()
        seen.append(early.factor)
    assert seen == [0.25, 0.5, 0.5, 1, 1, 1, 1, 1]
    never = Rates()  # The first window diverged: the config's rates have never been in line.
    never.fall(0.5, trained=False)
    never.rise()
    never.rise()
    assert never.factor == 0.5
    never.fall(0.5, trained=True)
    never.rise()
    never.rise()
    assert never.factor == 0.5


def test_the_recoveries_of_a_run_are_counted_over_windows():
    def diverge(recovery: Recoveries, checkpoint: int, day: date, odd: tuple[date, ...] = ()):
        return recovery.add(Diverged("why", None, Batch(day, 9), {}), checkpoint, checkpoint + 1, DAYS[0], odd)

    recovery = Recoveries(RecoveryConfig(most=2))
    diverge(recovery, 1, DAYS[0])
    assert not recovery.in_line(DAYS[0])  # It was left out: that says nothing of its training.
    diverge(recovery, 3, DAYS[1])
    with pytest.raises(DivergedError, match="after 2 recoveries in a row, with no whole window in line between them"):
        diverge(recovery, 5, DAYS[2])
    assert recovery.in_line(DAYS[3])
    assert recovery.rate_factor == 0.5
    # Killed at any moment, it goes on as it was; the same window in line counts once.
    recovery = Recoveries(RecoveryConfig(most=2), json.loads(json.dumps(recovery.done)))
    assert not recovery.in_line(DAYS[3])
    assert recovery.rate_factor == 0.5
    # Days that were told odd are left out together, in one recovery.
    done = diverge(recovery, 7, DAYS[6], (DAYS[4], DAYS[5]))
    assert list(done["skipped"]) == [str(DAYS[4]), str(DAYS[5])]
    assert recovery.discarded == (7, 8)
    done = diverge(recovery, 7, DAYS[6], (DAYS[4], DAYS[5]))
    assert list(done["skipped"]) == [str(DAYS[6])]


go_back = Recovery._go_back


class CrashError(Exception):
    """What ends a run in the middle of its recovery."""


def test_a_run_killed_while_it_recovers_goes_on_as_if_it_had_not(outliers, recovered, tmp_path, monkeypatch):
    def crash(self, number):
        if number is not None:  # Not where the run starts.
            raise CrashError
        go_back(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Recovery, "_go_back", crash)
        with pytest.raises(CrashError):
            go(outliers, tmp_path / "run")
    go(outliers, tmp_path / "run")
    assert_same_run(recovered, tmp_path / "run")


def test_the_readers_of_a_diverged_run_end_before_its_recovery(outliers, tmp_path, monkeypatch):
    def recover(self, diverged, batch_size):
        raise CrashError([t.name for t in set(threading.enumerate()) - before if "PoolExecutor" in t.name])

    monkeypatch.setattr(Recovery, "recover", recover)
    before = set(threading.enumerate())
    with pytest.raises(CrashError) as crash:
        go(outliers, tmp_path / "run")
    assert crash.value.args == ([],)


@pytest.mark.slow
def test_workers_recover_together(outliers, recovered, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG.replace("unset", str(outliers)))
    for worker in start_workers(2, tmp_path / "config.yaml", tmp_path / "run"):
        finish(worker)
    ours, theirs = events(recovered, "recovery"), events(tmp_path / "run", "recovery")
    assert [event["skipped"] for event in ours] == [event["skipped"] for event in theirs]
    for day in DAYS[:6]:
        assert metrics(tmp_path / "run", day)["steps"] == metrics(recovered, day)["steps"]
        assert auc(tmp_path / "run", day) == pytest.approx(auc(recovered, day), abs=0.01)  # ReLU amplifies rounding.


def test_batches_of_another_size_are_left_out_if_they_share_rows_with_those_left_out():
    recovery = Recoveries(RecoveryConfig())
    first, last = Batch(DAYS[0], 3), Batch(DAYS[0], 4)  # Leaves out batches 2 to 4 of 256 rows: rows 512 to 1279.
    recovery.add(Diverged("why", first, last, {}), 1, 2, None, batch_size=256)
    assert recovery.numbers(DAYS[0], 0, 8, 256).tolist() == [0, 1, 5, 6, 7]
    assert recovery.numbers(DAYS[0], 0, 4, 512).tolist() == [0, 3]
    assert recovery.numbers(DAYS[0], 0, 16, 128).tolist() == [*range(4), *range(10, 16)]


def test_the_watch_begins_anew_where_a_loss_weighs_otherwise():
    def tasks(weight):
        return {"click": BinaryTask(kind="binary", weight=weight)}

    config, losses = DivergenceConfig(), np.tile([0.6, 0.6], (200, 1))
    watch = LossWatch(config, tasks(1))
    watch.begin(DAYS[0], 400)
    watch.update(np.arange(200), losses)
    state = json.loads(json.dumps(watch.state()))
    louder = losses * [10, 1]  # The total is ten times as large, without a divergence.
    assert LossWatch(config, tasks(1), state).update(np.arange(200, 400), louder)
    assert not LossWatch(config, tasks(10), state).update(np.arange(200, 400), louder)
