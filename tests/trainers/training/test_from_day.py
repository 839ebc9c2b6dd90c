"""`train --from-day`: back to before a day, for days that came late or were mended."""

import json
import shutil
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.trainers.runs import DAYS, assert_same_run, copy_days, load, metrics
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.files import stranger
from tfstable.serving import card, versions
from trainers import Run
from trainers.store import going_back
from trainers.store.run_directory import OWN, RunDirectory

KEYS = ("trainer.keep_checkpoints=5", "export.when=never")


def go(log: Path, run: Path, from_day: date | None = None, *overrides: str, fresh: bool = False) -> str:
    """Trains, and returns what the user sees."""
    console = Console(record=True, width=200, file=(run.parent / "said.txt").open("w"))
    opened = Run.open(load(log, *KEYS, *overrides), run, fresh=fresh)
    opened._console = console
    opened.train(from_day=from_day)
    return console.export_text()


def events(run: Path) -> list[dict]:
    path = run / "events.jsonl"
    found = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [event for event in found if event["event"] in ("went_back", "changed_day")]


def mend(log: Path, day: date):
    part = log / f"date={day}" / "part-0.parquet"
    pq.write_table(pq.read_table(part).slice(100), part)


@pytest.fixture(scope="module")
def original(log, tmp_path_factory) -> tuple[Path, Path]:
    """A log of its own, and a run over it: windows end at days 2 to 5, each with a version that is a card alone."""
    path = tmp_path_factory.mktemp("from")
    go(copy_days(log, DAYS, path / "log"), path / "run")
    for day in DAYS[1:]:
        publish(path / "run", day)
    return path / "log", path / "run"


def publish(run: Path, last: date):
    partial = versions.begin(run / "export")
    card.write(partial, card.ModelCard(str(last)))
    versions.publish(partial)


@pytest.fixture
def copy(original, tmp_path) -> tuple[Path, Path]:
    for source, name in zip(original, ("log", "run"), strict=True):
        shutil.copytree(source, tmp_path / name, symlinks=True)
    return tmp_path / "log", tmp_path / "run"


def tree(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_an_unchanged_log_gives_the_same_bits_again(original, copy):
    log, run = copy
    assert versions.versions(run / "export") == [1, 2, 3, 4]
    said = go(log, run, DAYS[3])
    (event,) = events(run)
    aside = run / "set_aside" / event["set_aside"]
    assert event == {
        "event": "went_back",
        "from_day": str(DAYS[3]),
        "restored": 3,
        "trained_to": str(DAYS[4]),
        "window_end": str(DAYS[2]),
        "set_aside": aside.name,
    }
    assert f"--from-day {DAYS[3]}: back to checkpoint 3, trained to {DAYS[2]}; what came after it is in {aside}" in said
    assert_same_run(original[1], run)
    assert metrics(run) == metrics(original[1])
    assert (run / "days.json").read_text() == (original[1] / "days.json").read_text()

    assert sorted(path.name for path in (aside / "checkpoints").iterdir()) == ["4", "5"]
    assert sorted(path.name for path in (aside / "windows").iterdir()) == [str(day) for day in DAYS[2:]]
    assert metrics(aside, DAYS[4]) == metrics(original[1], DAYS[4])
    assert versions.versions(aside / "export") == [3, 4]
    assert versions.versions(run / "export") == [1, 2]
    assert (run / "export" / "latest").readlink() == Path("2")
    publish(run, DAYS[3])
    assert versions.versions(run / "export") == [1, 2, 5]  # A number is never used twice.
    assert stranger(run, OWN) is None


def test_a_mended_day_ends_as_a_run_that_had_it_from_the_start(copy, tmp_path):
    log, run = copy
    mend(log, DAYS[3])
    said = go(log, run, DAYS[3])
    assert "has changed since" not in said  # It is trained as it is now.
    go(log, tmp_path / "expected")
    assert_same_run(tmp_path / "expected", run)
    assert (run / "days.json").read_text() == (tmp_path / "expected" / "days.json").read_text()
    assert [event["event"] for event in events(run)] == ["went_back"]
    mend(log, DAYS[4])
    go(log, run, fresh=True)  # It knows what was set aside.
    assert not (run / "set_aside").exists()


class KilledError(Exception):
    pass


def test_a_kill_while_it_sets_aside_is_completed_by_the_next_start(original, copy, tmp_path, monkeypatch):
    log, run = copy
    directory, days = RunDirectory(run, load(log, *KEYS)), DayLog(log)
    decided = going_back.decide(directory, days, load(log).trainer, DAYS[3])
    shutil.copytree(run, tmp_path / "whole", symlinks=True)
    assert going_back.go_back(RunDirectory(tmp_path / "whole", load(log, *KEYS)), decided)
    steps = [(versions, "set_aside"), (going_back, "_move"), (going_back, "_forget"), (RunDirectory, "add_event")]
    for place, step in steps:
        shutil.rmtree(run)
        shutil.copytree(original[1], run, symlinks=True)
        with monkeypatch.context() as patch:
            real = getattr(place, step)

            def killed(*args, real=real, **kwargs):
                real(*args, **kwargs)  # The kill comes right behind it.
                raise KilledError

            patch.setattr(place, step, killed)
            with pytest.raises(KilledError):
                going_back.go_back(directory, decided)
        assert stranger(run, OWN) is None
        left = shutil.copytree(run, tmp_path / step, symlinks=True)
        going_back.go_back(RunDirectory(left, load(log, *KEYS)))
        assert tree(left) == tree(tmp_path / "whole")
    go(log, run)  # The last one by a start, which then trains again.
    assert_same_run(original[1], run)


@pytest.mark.slow
def test_the_same_command_again_goes_on_and_a_changed_day_goes_back_anew(copy, monkeypatch):
    log, run = copy
    three = copy_days(log, DAYS[:4], log.parent / "shorter")  # As if it were killed after one more window.
    go(three, run, DAYS[2])
    assert "back to" not in go(log, run, DAYS[2])
    assert len(events(run)) == 1
    go(three, run, DAYS[2])
    assert len(events(run)) == 2  # It had come to its former end.
    mend(log, DAYS[3])
    assert "back to checkpoint" in go(log, run, DAYS[2])


def test_no_checkpoint_is_old_enough(original, tmp_path):
    log, run = original
    short = tmp_path / "run"
    shutil.copytree(run, short, symlinks=True)
    for number in ("1", "2", "3"):
        shutil.rmtree(short / "checkpoints" / number)
    with pytest.raises(InputError) as raised:
        go(log, short, DAYS[2])
    assert str(raised.value) == (
        f"--from-day {DAYS[2]}: {short} has no checkpoint from before that day: a window ends at {DAYS[3]}, {DAYS[4]}; "
        f"--from-day {DAYS[4]} or a later day is possible. To keep more, raise trainer.keep_checkpoints or "
        "trainer.keep_weekly; --fresh trains from the first day"
    )
    assert not (short / "set_aside").exists()
    assert not (short / "going_back.json").exists()
    with pytest.raises(InputError, match="--from-day goes back in a run, and --fresh deletes it"):
        go(log, short, DAYS[4], fresh=True)


def test_a_model_that_was_withdrawn_may_be_published_once_its_days_are_mended(copy):
    log, run = copy
    versions.promote(run / "export", 2)
    assert versions.metadata(run / "export" / "5").withdrawn == tuple(str(day) for day in DAYS[3:])
    directory, config = RunDirectory(run, load(log, *KEYS)), load(log)
    going_back.go_back(directory, going_back.decide(directory, DayLog(log), config.trainer, DAYS[3]))
    assert versions.versions(run / "export") == [1, 2, 5]
    assert versions.metadata(run / "export" / "latest").withdrawn == ()


def test_back_to_the_untrained_model_takes_latest_away(copy):
    log, run = copy
    directory, config = RunDirectory(run, load(log, *KEYS)), load(log)
    going_back.go_back(directory, going_back.decide(directory, DayLog(log), config.trainer, DAYS[0]))
    assert not (run / "export" / "latest").is_symlink()
    assert versions.versions(run / "export") == []
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["1"]
    assert not (run / "metrics.json").exists()
    assert list((run / "windows").iterdir()) == []
