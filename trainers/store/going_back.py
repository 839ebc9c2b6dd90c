"""`train --from-day`: goes back to the newest checkpoint before a day, and sets aside all that came after it.

What to do is written to MODEL_DIR/going_back.json first. Each step may be repeated, so a run that is killed in between
finishes them at its next start. The files are then in MODEL_DIR/set_aside/TIME, where they had been in MODEL_DIR.
"""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tfstable.data.digest import day_digest
from tfstable.data.log import DayLog
from tfstable.data.window import windows
from tfstable.errors import InputError
from tfstable.files import FORMAT, read_json, whole, write_json
from tfstable.serving import versions
from trainers.config import TrainerConfig
from trainers.store.run_directory import RunDirectory
from trainers.store.window_record import WindowRecord

GOING_BACK, SET_ASIDE, EVENT = "going_back.json", "set_aside", "went_back"
_REMEDY = "restore it from a backup, or start again with --fresh"


class Saved(NamedTuple):
    """A checkpoint, as its about.json has it: its number, the last day of the finished windows, the batches after."""

    number: int
    last: date | None
    step: int


def decide(run: RunDirectory, log: DayLog, trainer: TrainerConfig, from_day: date) -> dict[str, Any] | None:
    """Returns how to go back to before a day, for `go_back`; changes nothing.

    Args:
        run: The run's directory.
        log: The log.
        trainer: The config's trainer section.
        from_day: The first day that the model must not have seen.

    Returns:
        None if there is nothing to go back from: the run has not come to the day, or is on the way since an earlier
        start with this day, and the days have not changed since.

    Raises:
        InputError: If no checkpoint is that old.
    """
    saved = _checkpoints(run.checkpoints)
    if not saved or _before(saved[-1], from_day, log, trainer) or _is_on_the_way(run, log, from_day):
        return None
    kept = [each for each in saved if _before(each, from_day, log, trainer)]
    if not kept:
        ends = sorted({each.last for each in saved if each.last and not each.step})
        later = [day for day in log.days if ends and day > ends[0]]
        days = f"a window ends at {', '.join(map(str, ends))}" if ends else "no window is finished"
        possible = f"; --from-day {later[0]} or a later day is possible" if later else ""
        raise InputError(
            f"--from-day {from_day}: {run.path} has no checkpoint from before that day: {days}{possible}. To keep "
            "more, raise trainer.keep_checkpoints or trainer.keep_weekly; --fresh trains from the first day"
        )
    records = run.windows()
    return {
        "from_day": str(from_day),
        "number": kept[-1].number,
        "last": kept[-1].last and str(kept[-1].last),
        "trained_to": str(records[-1].last) if records else None,
        "name": datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ"),
    }


def go_back(run: RunDirectory, decided: dict[str, Any] | None = None) -> str | None:
    """Sets aside what came after a checkpoint; without `decided`, only finishes what an earlier start began.

    Args:
        run: The run's directory, locked.
        decided: The result of `decide`; None: nothing new.

    Returns:
        A line for the user; None if there was nothing to do.
    """
    path = run.path / GOING_BACK
    if decided is not None:
        write_json(path, {"format": FORMAT, **decided})
    if not path.exists():
        return None
    todo = read_json(path, _REMEDY)
    aside, number = run.path / SET_ASIDE / todo["name"], todo["number"]
    last = todo["last"] and date.fromisoformat(todo["last"])
    # First: nobody may serve what is about to go.
    later = _later_versions(run.exports, todo["last"] or "")
    versions.set_aside(run.exports, later, aside / "export", todo["last"] or "")
    _copy(run.path, aside, ("days.json", "recovery.json", "metrics.json"))
    if last is not None:
        _copy(run.path, aside, (f"windows/{last}/metrics.json",))
    _move(run.path, aside, "windows", lambda name: name > str(last or ""))
    for folder in ("counters", "late"):
        _move(run.path, aside, folder, lambda name: name.lstrip(".")[:10] > str(last or ""))
    _move(run.path, aside, "checkpoints", lambda name: _number(name) > number)
    _forget(run, last, number)
    events = run.events(EVENT)
    if not events or events[-1]["set_aside"] != todo["name"]:
        run.add_event(
            EVENT,
            from_day=todo["from_day"],
            restored=number,
            trained_to=todo["trained_to"],
            window_end=todo["last"],
            set_aside=todo["name"],
        )
    path.unlink()
    return (
        f"--from-day {todo['from_day']}: back to checkpoint {number}, trained to {last or 'nothing yet'}; what came "
        f"after it is in {aside}"
    )


def _checkpoints(directory: Path) -> list[Saved]:
    """The checkpoints whose about.json can be read, the oldest first."""
    found = []
    for path in directory.glob("[0-9]*/about.json"):
        try:
            about = read_json(path, _REMEDY) if path.parent.name.isdecimal() else None
        except InputError:
            continue
        if about is not None:
            last = about["last"] and date.fromisoformat(about["last"])
            found.append(Saved(int(path.parent.name), last, about["step"]))
    return sorted(found)


def _before(saved: Saved, day: date, log: DayLog, trainer: TrainerConfig) -> bool:
    """Whether a checkpoint's model has seen no row of a day or of a later one."""
    if saved.step:
        begun = windows(log.days, trainer.window_days, trainer.stride_days, after=saved.last)[:1]
        return bool(begun) and begun[0].last < day
    return saved.last is None or saved.last < day


def _is_on_the_way(run: RunDirectory, log: DayLog, from_day: date) -> bool:
    """Whether the run has gone back for this day, has not come to its former end again, and the days are the same."""
    events, records = run.events(EVENT), run.windows()
    if not events or events[-1]["from_day"] != str(from_day):
        return False
    trained = read_json(run.path / "days.json", _REMEDY)["days"] if (run.path / "days.json").exists() else {}
    since = {day: facts for day, facts in trained.items() if day >= str(from_day)}
    now = {str(day): [log.rows(day), day_digest(log, day)] for day in log.days if str(day) in since}
    return since == now and str(records[-1].last if records else "") < (events[-1]["trained_to"] or "")


def _later_versions(exports: Path, last: str) -> list[int]:
    """The versions whose model was trained beyond `last`; one with a damaged card stays."""
    found = []
    for number in versions.versions(exports):
        try:
            found += [number] if versions.metadata(exports / str(number)).window_end > last else []
        except InputError:
            continue
    return found


def _copy(root: Path, aside: Path, names: Sequence[str]) -> None:
    for name in names:
        if (root / name).exists() and not (aside / name).exists():
            with whole(aside / name) as hidden:
                shutil.copyfile(root / name, hidden)


def _move(root: Path, aside: Path, folder: str, is_later: Callable[[str], bool]) -> None:
    for path in sorted((root / folder).glob("*")):
        if not path.name.endswith((".partial", ".pruned")) and is_later(path.name):
            (aside / folder).mkdir(parents=True, exist_ok=True)
            path.rename(aside / folder / path.name)


def _number(name: str) -> int:
    digits = name.partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _forget(run: RunDirectory, last: date | None, number: int) -> None:
    """Takes back what the files that stay say of later days: evaluations, days, recoveries, the model's good name."""
    if last is not None and (record := run.window(last)) is not None:
        again = WindowRecord(record.window, record.examples, record.steps, record.seconds, record.examples_per_second)
        run.write_window(again)  # Its next days are evaluated anew: they may have changed.
    (run.path / "metrics.json").unlink(missing_ok=True)
    if (newest := run.newest()) is not None:
        run.write_window(newest)
    about = run.checkpoints / str(number) / "about.json"
    write_json(about, {**read_json(about, _REMEDY), "good": last is None})
    if (days := run.path / "days.json").exists():
        trained = read_json(days, _REMEDY)["days"]
        write_json(days, {"days": {d: f for d, f in trained.items() if d <= str(last or "")}, "window": {}})
    if done := run.recoveries():
        run.write_recoveries([entry for entry in done if _is_earlier(entry, last, number)])


def _is_earlier(entry: dict[str, Any], last: date | None, number: int) -> bool:
    """Whether an entry of recovery.json is older than a checkpoint."""
    return entry["in_line"] < str(last or "") if "in_line" in entry else entry["newest"] < number
