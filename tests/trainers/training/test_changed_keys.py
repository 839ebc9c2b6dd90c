"""Keys that change in a running model: what a run takes, when, what it writes down, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.trainers import launch
from tests.trainers.runs import (
    DAYS,
    StoppedError,
    StoppingReport,
    assert_same_run,
    begun,
    copy_days,
    is_model_weight,
    load,
    start,
    weights,
)
from tfstable.errors import InputError
from trainers import config as configs
from trainers.config.optimizer import ClippyConfig
from trainers.store import run_directory

RATES = ("optimizer.dense.learning_rate=0.01", "optimizer.embeddings.learning_rate=0.02")


def changed(run: Path) -> list[dict[str, list]]:
    lines = (run / "events.jsonl").read_text().splitlines() if (run / "events.jsonl").exists() else []
    events = [event for event in map(json.loads, lines) if event["event"] == "config_changed"]
    return [{entry["key"]: [entry["before"], entry["now"]] for entry in event["changed"]} for event in events]


@pytest.fixture(scope="module")
def four(log, tmp_path_factory) -> Path:
    """A run over the first four days, without exports."""
    path = tmp_path_factory.mktemp("four")
    start(copy_days(log, DAYS[:4], path / "log"), path / "run", "export.when=never")
    return path


def test_rates_clipping_and_loss_weights_change_and_are_written_down_once(four, log, tmp_path):
    run = shutil.copytree(four / "run", tmp_path / "run")
    keys = (
        *RATES,
        "optimizer.dense.clipping=null",
        "tasks.follow.weight=30",
        "trainer.batch_size=128",
        "export.when=never",
    )
    start(log, run, *keys)
    found = changed(run)
    assert len(found) == 1
    assert found[0].pop("data.path") == [str(four / "log"), str(log)]
    assert found[0] == {
        "optimizer.dense.learning_rate": [0.05, 0.01],
        "optimizer.embeddings.learning_rate": [0.05, 0.02],
        **{
            f"optimizer.dense.clipping.{key}": [value, None]
            for key, value in ClippyConfig(kind="clippy").model_dump().items()
        },
        "tasks.follow.weight": [1.0, 30.0],
        "trainer.batch_size": [256, 128],
    }
    record = json.loads((run / "windows" / str(DAYS[4]) / "metrics.json").read_text())
    assert record["steps"] == 16  # 2,000 rows by 128.
    assert not [e for e in (run / "events.jsonl").read_text().splitlines() if "divergence" in e]
    start(log, run, *keys)
    assert len(changed(run)) == 1

    # The rates were those of the config, not of the checkpoint: a run that had them in its checkpoint ends the same.
    other = shutil.copytree(four / "run", tmp_path / "other")
    start(four / "log", other, *keys)  # Nothing to train: only the config is taken.
    start(log, other, *keys)
    assert_same_run(run, other)
    kept = shutil.copytree(four / "run", tmp_path / "kept")
    start(log, kept, *keys[2:])
    name = "optimizer/_trainable_variables/1/.ATTRIBUTES/VARIABLE_VALUE"
    assert not np.array_equal(weights(kept)[name], weights(run)[name])


@pytest.mark.parametrize(
    "first", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["to a schedule", "to a constant rate"]
)
def test_a_constant_rate_and_a_schedule_may_follow_each_other(log, tmp_path, first):
    """The optimizer's slots stay where the checkpoint has them, and the rate is the new config's."""
    rates = ("optimizer.dense.schedule={}", "optimizer.dense.schedule={warmup_steps: 100}")
    days = copy_days(log, DAYS[:2], tmp_path / "log")
    start(days, tmp_path / "run", rates[first], "export.when=never")
    before = weights(tmp_path / "run")
    config = load(days, rates[1 - first], "optimizer.dense.learning_rate=0.5", "export.when=never")
    learner = begun(config, tmp_path / "run").state.learner
    for variable in learner.model.trainable_variables:
        optimizer = learner.optimizer.optimizers["tables" not in variable.path]
        places = [name for name, value in before.items() if np.array_equal(value, optimizer.accumulator(variable))]
        assert places, variable.path
    assert float(learner.optimizer.optimizers[1].learning_rate) == pytest.approx([0.5 * 9 / 100, 0.5][first])


PLAIN, OFTEN = ("export.when=never", "trainer.tensorboard=false"), "trainer.checkpoint_minutes=1e-9"
AFTER = ("trainer.batch_size=128", "trainer.passes=0.5")


def changed_between_windows(log: Path, days: Path, run: Path):
    """Trains two windows, and then the others with the changed keys."""
    start(copy_days(log, DAYS[:3], days), run, *PLAIN)
    start(log, run, *PLAIN, *AFTER)


def stopped(log: Path, run: Path, report: type[StoppingReport], *overrides: str):
    with pytest.raises(StoppedError):  # Inside the second window.
        begun(load(log, *PLAIN, OFTEN, *overrides), run, report).train()


def test_a_begun_window_is_finished_with_its_own_batches(log, tmp_path):
    """As it would have been without the change; the next one has the new batches, as after a start between the two."""
    stopped(log, tmp_path / "run", StoppingReport)
    start(log, tmp_path / "run", *PLAIN, *AFTER)
    changed_between_windows(log, tmp_path / "three", tmp_path / "expected")
    assert_same_run(tmp_path / "expected", tmp_path / "run")


@pytest.mark.slow
def test_a_begun_window_keeps_its_batches_over_several_starts(log, tmp_path):
    stopped(log, tmp_path / "run", StoppingReport)
    stopped(log, tmp_path / "run", StopsAtOnce, *AFTER)
    start(log, tmp_path / "run", *PLAIN, *AFTER)
    changed_between_windows(log, tmp_path / "three", tmp_path / "expected")
    assert_same_run(tmp_path / "expected", tmp_path / "run")


class StopsAtOnce(StoppingReport):
    windows = 1


def test_a_kill_between_event_and_params_neither_loses_nor_doubles_the_event(four, tmp_path, monkeypatch):
    run = shutil.copytree(four / "run", tmp_path / "run")
    log, keys = four / "log", ("export.when=never",)
    slow, fast = "optimizer.dense.learning_rate=0.01", "optimizer.dense.learning_rate=0.2"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "write_params", killed)
        with pytest.raises(KeyboardInterrupt):
            start(log, run, *keys, slow)
    key = "optimizer.dense.learning_rate"
    assert changed(run) == [{key: [0.05, 0.01]}]
    for override, expected in (
        (slow, [{key: [0.05, 0.01]}]),
        (slow, [{key: [0.05, 0.01]}]),
        (fast, [{key: [0.05, 0.01]}, {key: [0.01, 0.2]}]),
    ):
        start(log, run, *keys, override)
        assert changed(run) == expected


def test_a_change_that_was_noted_and_never_taken_is_taken_back(four, tmp_path, monkeypatch):
    run = shutil.copytree(four / "run", tmp_path / "run")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_directory, "write_params", killed)
        with pytest.raises(KeyboardInterrupt):
            start(four / "log", run, "export.when=never", "tasks.click.weight=2")
    start(four / "log", run, "export.when=never")
    assert changed(run) == [{"tasks.click.weight": [1.0, 2.0]}, {"tasks.click.weight": [2.0, 1.0]}]


def test_what_changes_shapes_is_refused_and_names_the_way(four, tmp_path):
    with pytest.raises(InputError) as raised:
        start(four / "log", four / "run", "model.units=[16]", "optimizer.dense.learning_rate=0.01")
    assert str(raised.value) == (
        f"{four / 'run'}: holds a run with another config: model.units ([16, 16] -> [16]), which changes shapes or "
        "meaning; use --init-from with another --model-dir to carry the model over, or --fresh to delete this run"
    )
    assert changed(four / "run") == []


@pytest.mark.slow
def test_two_workers_take_the_changes_together(log, tmp_path):
    """A changed rate and batch size, moments fitted anew, and a return to an earlier day: as one process does."""
    keys = (*PLAIN, "trainer.refit_windows=1", "trainer.keep_checkpoints=4")
    config = tmp_path / "config.yaml"
    config.write_text(configs.dump(load(log, *keys)))
    changes = ("optimizer.dense.learning_rate=0.02", "trainer.batch_size=128")
    go_back = ("--from-day", str(DAYS[3]))
    for started in ((), go_back):
        overrides = changes if started else ()
        workers = [
            launch.start(
                config, tmp_path / "two", "trainer.strategy=multi_worker", *overrides, flags=started, environment=e
            )
            for e in launch.cluster(2)
        ]
        for worker in workers:
            launch.finish(worker)
        launch.finish(launch.start(config, tmp_path / "one", *overrides, flags=started))
    ours, theirs = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in ours.items():
        if is_model_weight(name):
            distance = np.linalg.norm(value - theirs[name]) / max(np.linalg.norm(value), 1e-12)
            assert distance <= 1e-4, (name, distance)
    found = [change for change in changed(tmp_path / "two") if "trainer.batch_size" in change]
    assert found[0]["trainer.batch_size"] == [256, 128]
    kinds = [json.loads(line)["event"] for line in (tmp_path / "two" / "events.jsonl").read_text().splitlines()]
    assert kinds.count("went_back") == 1
    assert kinds.count("config_changed") == 1
    assert kinds.count("moments_refitted") == 3 + 2
