"""Killed, asked to stop, out of disk, damaged: a run that goes on ends with the bits of an uninterrupted one."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.all_inputs import add_columns, with_all_inputs
from tests.trainers.launch import ROOT, finish, start, start_workers
from tests.trainers.runs import CONFIG, assert_same_run, metrics, weights
from tfstable.serving import export
from tfstable.sources.simulate import simulate

pytestmark = pytest.mark.slow

# What a process does to itself, besides training: SIGKILL, at the n-th time that it does a certain thing.
KILLED = """
import os, random, signal, sys, threading, time

moment, number, delay = sys.argv.pop(1), int(sys.argv.pop(1)), float(sys.argv.pop(1))

def die(after):
    threading.Thread(target=lambda: (time.sleep(after), os.kill(os.getpid(), signal.SIGKILL)), daemon=True).start()

def dying(function):
    def call(*arguments, **options):
        global number
        number -= 1
        if number == 0:
            die(delay)
        return function(*arguments, **options)
    return call

from trainers.cli import app as cli
from trainers.cli.screen import quiet_tensorflow
quiet_tensorflow()
import tensorflow as tf
import trainers.training.loop, trainers.store.counters, trainers.store.run_directory
if moment == "checkpoint":
    tf.train.Checkpoint.write = dying(tf.train.Checkpoint.write)
elif moment == "export":
    tf.saved_model.save = dying(tf.saved_model.save)
elif moment == "metrics":
    trainers.store.run_directory.os.fsync = dying(os.fsync)
elif moment == "step":
    moving_window = trainers.training.loop.MovingWindow  # It asks for the steps of a call before each.
    moving_window._steps_of_a_call = dying(moving_window._steps_of_a_call)
elif moment == "counters":
    trainers.store.counters.CounterStore.save = dying(trainers.store.counters.CounterStore.save)
elif moment == "any":
    die(delay)
sys.argv[0] = "tfstable"
cli.main()
"""
# By moment: how often it may pass unharmed, and the longest delay of the kill, about as long as that takes.
MOMENTS = {
    "checkpoint": (12, 0.02),
    "export": (2, 0.5),
    "metrics": (12, 0.005),
    "step": (12, 0.1),
    "any": (1, 8.0),
    "counters": (4, 0.02),
}
DAYS = 72  # Enough for 24 kills on a fast machine, too.


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("kills")
    simulate(path / "log", days=DAYS, rows_per_day=1000, users=200, videos=100)
    add_columns(path / "log")
    text = CONFIG.replace("tensorboard: false", "tensorboard: false, checkpoint_minutes: 1.0e-9, keep_checkpoints: 2")
    text = text.replace("initial_accumulator: 1.0e-4", "initial_accumulator: 1.0e-4, forget: 0.9")
    text = text.replace("follow: {kind: binary}", "follow: {kind: binary, calibrate: true}")
    text += "export: {when: every_window}\n"
    (path / "config.yaml").write_text(with_all_inputs(text, path / "log"))
    return path / "config.yaml"


def exported(run: Path) -> dict[str, list[tuple]]:
    """The variables of each version, by the last day that it was trained on; an export has no order of them."""
    found = {}
    for number in export.versions(run / "export"):
        version = run / "export" / str(number)
        variables = tf.saved_model.load(str(version)).variables_read
        values = [variable.numpy() for variable in variables]
        found[export.metadata(version).window_end] = sorted((value.shape, value.tobytes()) for value in values)
    return found


def test_two_dozen_kills_change_nothing(config, tmp_path):
    finish(start(config, tmp_path / "whole", "trainer.passes=2"), seconds=1200)
    kills, chance, moments = 0, random.Random(7), [moment for moment in MOMENTS for _ in range(4)]
    chance.shuffle(moments)
    for moment in moments:
        most, longest = MOMENTS[moment]
        number, delay = chance.randint(1, most), chance.uniform(0, longest)
        arguments = ["train", "--config", config, "--model-dir", tmp_path / "killed", "--set", "trainer.passes=2"]
        command = [sys.executable, "-c", KILLED, moment, number, delay, *arguments]
        done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
        saved = sorted(path.name for path in (tmp_path / "killed" / "checkpoints").glob("[0-9]*"))
        print(f"{moment} {number}, {delay:.3f} s later: status {done.returncode}, checkpoints {saved}")
        assert done.returncode in (-signal.SIGKILL, 0), done.stderr[-3000:]  # 0: it had finished before.
        kills += done.returncode != 0
    assert kills == 24
    finish(start(config, tmp_path / "killed", "trainer.passes=2"), seconds=1200)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert exported(tmp_path / "whole") == exported(tmp_path / "killed")
    assert not [path for path in (tmp_path / "killed").rglob("*") if "partial" in path.name]


def wait_for_checkpoints(run: Path, number: int, processes: list[subprocess.Popen]):
    """Waits until a run has saved checkpoint `number`."""
    end = time.monotonic() + 240
    while not any(int(path.name) >= number for path in run.glob("checkpoints/[0-9]*")):
        for process in processes:
            if process.poll() is not None:
                raise AssertionError(f"left with {process.returncode}:\n{process.communicate()[0][-3000:]}")
        assert time.monotonic() < end, "no checkpoint in 240 s"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def long(config) -> list[str]:
    """What makes windows last: 160 steps each, nine of them, so that no run is over before it is stopped."""
    settings = ["trainer.passes=20", "trainer.steps_per_call=20", "trainer.checkpoint_minutes=0.005"]
    return [*settings, "export.when=last", f"data.path={few_days(config, 10)}"]


def test_sigterm_checkpoints_and_leaves_with_143(config, long, tmp_path):
    process = start(config, tmp_path / "stopped", *long)
    wait_for_checkpoints(tmp_path / "stopped", 3, [process])  # The first is that of the untrained model.
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    assert "stopped by SIGTERM; rerun the same command to resume" in finish(process, status=143)
    print(f"left {time.monotonic() - sent:.1f} s after SIGTERM")
    at = weights(tmp_path / "stopped")
    finish(start(config, tmp_path / "stopped", *long))
    finish(start(config, tmp_path / "whole", *long))
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert at["optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"] > 0


def test_workers_stop_together_and_a_death_ends_the_others(config, long, tmp_path):
    whole = start_workers(2, config, tmp_path / "whole", *long)
    for worker in whole:
        finish(worker)

    # SIGTERM to the second alone: both checkpoint at the same step and leave.
    workers = start_workers(2, config, tmp_path / "run", *long)
    wait_for_checkpoints(tmp_path / "run", 3, workers)
    workers[1].send_signal(signal.SIGTERM)
    for worker in workers:
        finish(worker, status=143)

    # The death of either: the other one says so and leaves.
    for victim in (0, 1):
        newest = max(int(path.name) for path in (tmp_path / "run" / "checkpoints").glob("[0-9]*"))
        workers = start_workers(2, config, tmp_path / "run", *long)
        wait_for_checkpoints(tmp_path / "run", newest + 2, workers)
        workers[victim].kill()
        said = finish(workers[1 - victim], status=os.EX_TEMPFAIL)
        assert f"error: worker {1 - victim} of 2 stopped: another one is gone" in said
        assert "rerun the same command on all workers" in said
        workers[victim].wait()

    for worker in start_workers(2, config, tmp_path / "run", *long):
        finish(worker)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(config, tmp_path):
    finish(start(config, tmp_path / "whole", "export.when=never"))
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    newest = max(checkpoints.iterdir(), key=lambda path: int(path.name))
    data = next(newest.glob("checkpoint.data*"))
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    said = finish(start(config, tmp_path / "run", "export.when=never"))
    assert f"{newest} cannot be read" in said.replace("\n", "")
    assert f"going on from checkpoint {int(newest.name) - 1}" in said
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    (event,) = [event for event in events if event["event"] != "ids_wait"]  # The config's capacity is small.
    assert event["event"] == "checkpoint_damaged"
    assert event["restored"] == int(newest.name) - 1
    shutil.rmtree(checkpoints / f"{newest.name}.damaged")
    assert_same_run(tmp_path / "whole", tmp_path / "run")

    for path in checkpoints.glob("*/checkpoint.index"):
        path.write_bytes(b"nothing")
    said = finish(start(config, tmp_path / "run", "export.when=never"), status=2)
    assert "checkpoints can be read; restore one from a backup, or start again with --fresh" in said


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with little room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_one_line_and_loses_nothing(config, small_disk):
    run, ballast = small_disk / "run", small_disk / "ballast"
    options = ["export.when=never", "trainer.steps=8"]
    finish(start(config, run, *options, "data.missing_day=error", f"data.path={few_days(config, 3)}"))
    done, before = metrics(run, date(2025, 1, 2)), weights(run)
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 20_000))
    said = finish(start(config, run, *options), status=2)
    assert f"error: {run}: the disk is full; free some space" in said
    assert "Traceback" not in said
    assert metrics(run, date(2025, 1, 2)) == done
    assert all(np.array_equal(value, weights(run)[name], equal_nan=True) for name, value in before.items())
    ballast.unlink()
    finish(start(config, run, *options))
    assert len(list((run / "windows").iterdir())) == DAYS - 1
    assert not [path for path in run.rglob("*") if "partial" in path.name]


def few_days(config: Path, days: int) -> Path:
    """A log of the first days of the config's log."""
    path = config.parent / f"log-{days}"
    for day in sorted((config.parent / "log").iterdir())[:days]:
        shutil.copytree(day, path / day.name)
    return path
