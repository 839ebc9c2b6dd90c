"""Locks between real processes, and hidden directories that know whether their process lives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfstable.errors import InputError
from tfstable.locks import clear_abandoned, grow, locked, refuse_if_locked, settle

HOLDER = """
import sys, time
from pathlib import Path
from tfstable.locks import grow, locked

with locked(Path(sys.argv[1]), ""):
    print(grow(Path(sys.argv[1])), flush=True)
    time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path / "run"` and has a hidden directory in it."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    process.partial = Path(process.stdout.readline().strip())
    yield process
    process.kill()
    process.communicate()


def test_the_second_hears_of_the_first_and_a_kill_gives_the_lock_back(holder, tmp_path):
    run = tmp_path / "run"
    for attempt in (lambda: locked(run, "wait").__enter__(), lambda: refuse_if_locked(run, "wait")):
        with pytest.raises(InputError, match=rf"run: in use by process {holder.pid} on \S+ since 20.*; wait"):
            attempt()
    clear_abandoned(run)
    assert holder.partial.is_dir()
    holder.kill()
    holder.wait()
    refuse_if_locked(run, "wait")
    with locked(run, "wait"):
        with pytest.raises(InputError, match="in use by process"), locked(run, "wait"):
            pass
        clear_abandoned(run)
    assert list(run.iterdir()) == []


def test_a_lock_leaves_nothing(tmp_path):
    with locked(tmp_path / "a" / "b", ""):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert not (tmp_path / "a" / "b").exists()
    (tmp_path / "b").mkdir()
    with locked(tmp_path / "b", ""):
        pass
    assert list((tmp_path / "b").iterdir()) == []


def test_only_what_was_grown_is_cleared(tmp_path):
    (tmp_path / ".tfstable-mine.partial").mkdir()
    (tmp_path / ".download.partial").mkdir()
    (tmp_path / ".tfstable-0123456789ab.partial").symlink_to(tmp_path / ".download.partial")
    own, moved = grow(tmp_path), grow(tmp_path)
    moved.rename(tmp_path / "whole")
    settle(moved)
    clear_abandoned(tmp_path)
    assert own.is_dir()
    settle(own)
    left = {".tfstable-mine.partial", ".download.partial", ".tfstable-0123456789ab.partial", "whole"}
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
def test_a_directory_that_another_process_clears_before_it_is_locked_is_made_again(when, tmp_path, monkeypatch):
    def cleared_once(function):
        def call(*arguments):
            monkeypatch.undo()
            if when == "before it is opened":
                clear_abandoned(tmp_path)
                assert not list(tmp_path.iterdir())
                return function(*arguments)
            descriptor = function(*arguments)
            clear_abandoned(tmp_path)
            return descriptor

        return call

    monkeypatch.setattr(os, "open", cleared_once(os.open))
    partial = grow(tmp_path)
    clear_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [partial]
    settle(partial)
    assert not list(tmp_path.iterdir())
