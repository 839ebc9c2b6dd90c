"""Two commands on one directory at once, signals, and disks that refuse: real processes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.trainers.commands import CONFIG, complaint, day, rows, train
from tests.trainers.launch import ROOT, finish, start
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.locks import locked
from tfstable.serving import export, versions
from trainers import config as configs
from trainers.devices.termination import Termination
from trainers.studies.stability.config import StabilityConfig
from trainers.studies.stability.program import stability


def test_what_writes_in_a_run_is_refused_and_what_reads_is_not(place, tmp_path, run):
    copy = shutil.copytree(place, tmp_path / "place", symlinks=True)
    shutil.copytree(copy / "run" / "export" / "1", copy / "run" / "export" / "2")
    with locked(copy / "run", ""):
        before = sorted(copy.rglob("*"))
        for said in (train(copy, run), train(copy, run, "--fresh"), run("export", "--model-dir", copy / "run")):
            assert f"{copy / 'run'}: in use by process {os.getpid()} on " in complaint(said)
        assert sorted(copy.rglob("*")) == before
        assert run("evaluate", "--model-dir", copy / "run", "--day", "2025-01-03")[0] == 0
        assert run("export", "--model-dir", copy / "run", "--list")[0] == 0
        assert run("export", "--model-dir", copy / "run", "--promote", "1")[0] == 0  # While a long training goes on.
    assert versions.versions(copy / "run" / "export") == [1, 2, 3]


def test_a_grid_is_refused_where_another_one_writes(place, tmp_path):
    log = DayLog(place / "log", "error")
    text = CONFIG.replace("LOG", str(log.path)) + "stability: {models: {a: {}}, treatments: {gc: [{}]}, rates: [0.1]}\n"
    (tmp_path / "config.yaml").write_text(text)
    config = configs.load(tmp_path / "config.yaml", ["trainer.window_days=1"], StabilityConfig)
    with locked(tmp_path / "out", ""), pytest.raises(InputError, match="out: in use by process"):
        stability(config, log, tmp_path / "out", Console(quiet=True))


def test_versions_published_and_promoted_at_once_keep_what_they_say(place, tmp_path):
    exports, source = tmp_path / "export", place / "run" / "export" / "1"

    def publish(mark: str):
        for number in range(15):
            partial = versions.begin(exports)
            shutil.copytree(source, partial, dirs_exist_ok=True)
            (partial / "assets").mkdir(exist_ok=True)
            (partial / "assets" / "mark").write_text(f"{mark} {number}")
            versions.cards.write(partial, replace(export.metadata(source), created=f"{mark} {number}"))
            versions.publish(partial)

    def promote():
        for _ in range(15):
            oldest = versions.versions(exports)[0]
            versions.promote(exports, oldest)
            versions.prune(exports, 60)  # As many as there will be: it looks, and deletes none.

    publish("first")
    threads = [threading.Thread(target=publish, args=(mark,)) for mark in "ab"] + [threading.Thread(target=promote)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = versions.versions(exports)
    assert found == list(range(1, 61))  # Nobody failed, and no number was given twice.
    for number in found:
        card = export.metadata(exports / str(number))
        assert card.created == (exports / str(number) / "assets" / "mark").read_text()
        assert card.promoted_from in (None, 1)
        versions.verify(exports / str(number))
    assert (exports / "latest").resolve().name == "60"
    assert not list(exports.glob(".*"))


def test_predictions_of_latest_are_of_one_version_while_it_moves(place, tmp_path):
    exports = shutil.copytree(place / "run" / "export", tmp_path / "export", symlinks=True)
    serving = export.Serving(exports / "latest")
    assert serving._version == exports / "1"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_simulate_with_nothing_left(number, status, tmp_path):
    command = [sys.executable, "-m", "trainers", "simulate", "--out", tmp_path / "log", "--days", "1000"]
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".*/date=*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1].startswith(f"stopped by {number.name}; ")
    assert process.returncode == status
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def long(tmp_path, write) -> Path:
    """A config whose window takes long."""
    for number in range(2):
        write(day(tmp_path / "log", number), {k: np.tile(v, 2000) for k, v in rows().items()})
    text = CONFIG.replace("LOG", str(tmp_path / "log")).replace("batch_size: 16", "batch_size: 64, passes: 500")
    (tmp_path / "config.yaml").write_text(text.replace("trainer: {", "trainer: {checkpoint_minutes: 0.01, "))
    return tmp_path / "config.yaml"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_what_is_held_and_is_dropped_on_otherwise(number, status):
    before, steps = signal.getsignal(number), []

    def stopped(held: bool):
        termination = Termination()
        with termination.installed(), termination.held() if held else nullcontext():
            os.kill(os.getpid(), number)
            steps.append(termination.requested)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # The next one ends the process.

    for held in (True, False):
        with pytest.raises(SystemExit) as left:
            stopped(held)
        assert left.value.code == status
    assert steps == [True]  # Of the one that was held.
    assert signal.getsignal(number) is before


@pytest.mark.slow
def test_ctrl_c_checkpoints_as_sigterm_does_and_the_lock_is_free_again(long, tmp_path):
    process = start(long, tmp_path / "run")
    while len(list(tmp_path.glob("run/checkpoints/[0-9]*"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    second = start(long, tmp_path / "run")
    assert f"error: {tmp_path / 'run'}: in use by process {process.pid} on" in finish(second, status=2)
    before = max(int(path.name) for path in tmp_path.glob("run/checkpoints/[0-9]*"))
    process.send_signal(signal.SIGINT)
    assert "stopped by SIGINT; rerun the same command to resume from" in finish(process, status=130)
    assert max(int(path.name) for path in tmp_path.glob("run/checkpoints/[0-9]*")) > before
    assert not list(tmp_path.glob("run/.lock"))


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once(long, tmp_path):
    process = start(long, tmp_path / "run")
    while not list(tmp_path.glob("run/checkpoints/[0-9]*")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert process.wait() in (130, -signal.SIGINT)


@pytest.fixture
def disk(tmp_path):
    """A file system of its own."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_read_only_disk_is_one_line(place, disk, run, tmp_path):
    shutil.copytree(place / "run", disk / "run", symlinks=True)
    shutil.copytree(disk / "run" / "export" / "1", disk / "run" / "export" / "2")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    version = disk / "run" / "export" / "1"
    for arguments in (
        ("export", "--model-dir", disk / "run", "--promote", "1"),
        ("export", "--model-dir", disk / "run"),
        ("train", "--config", place / "config.yaml", "--model-dir", disk / "run"),
        ("train", "--config", place / "config.yaml", "--model-dir", disk / "new"),
        ("predict", "--export", version, "--data", place / "log", "--out", disk / "out.parquet"),
        ("compare", version, version, "--data", place / "log", "--out", disk / "out"),
        ("simulate", "--out", disk / "log", "--days", "1", "--rows-per-day", "10"),
    ):
        said = complaint(run(*arguments))
        assert "Read-only file system" in said
        assert str(disk) in said


def test_a_full_disk_leaves_no_half_version(place, disk, run):
    shutil.copytree(place / "run", disk / "run", symlinks=True)
    shutil.copytree(disk / "run" / "export" / "1", disk / "run" / "export" / "2")
    (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 20_000))
    assert "free some space" in complaint(run("export", "--model-dir", disk / "run", "--promote", "1"))
    assert sorted(path.name for path in (disk / "run" / "export").iterdir()) == ["1", "2", "latest"]
    shutil.rmtree(disk / "run" / "export")
    (disk / "ballast").write_bytes(b"x" * ((disk / "ballast").stat().st_size + shutil.disk_usage(disk).free - 20_000))
    assert "the disk is full; free some space" in complaint(run("export", "--model-dir", disk / "run"))
    assert not (disk / "run" / "export").exists() or list((disk / "run" / "export").iterdir()) == []
