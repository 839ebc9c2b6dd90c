"""The files of a run, MODEL_DIR. Each is written under a temporary name and renamed, so none is ever incomplete."""

import json
import os
import re
import shutil
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tfstable.errors import InputError
from tfstable.files import FORMAT, plain, read_json, stranger, write_json
from tfstable.inputs.statistics import Statistics
from tfstable.locks import LOCK, locked, refuse_if_locked
from tfstable.serving.versions import OWN as VERSION
from trainers.config import Config, When, changes
from trainers.store.changed_keys import event, noted_changes
from trainers.store.params import NAME, read_config, read_params, write_params
from trainers.store.window_record import Metrics, WindowRecord

#: Files of a checkpoint's directory, as a pattern for `files.stranger`.
CHECKPOINT = r"ids\.parquet|calibration\.json|about\.json|\.about\.json\.partial|checkpoint\.(index|data-\d+-of-\d+)"
#: All that a run writes below MODEL_DIR: what --fresh deletes, and nothing else.
_DAYS = (
    rf"checkpoints/(\d+(\.damaged[-\d]*|\.diverged)?/({CHECKPOINT})?|\.\d+\.(partial|pruned)/.*)?"
    r"|windows/(\d{4}-\d\d-\d\d/(metrics\.json|\.metrics\.json\.partial)?)?"
    r"|(counters|late)/(\.?\d{4}-\d\d-\d\d\.(json|npz)(\.partial)?)?"
    r"|(recovery|metrics|days)\.json|\.(recovery|metrics|days)\.json\.partial"
)
OWN = re.compile(
    r"(params\.yaml|preprocessing\.json|workers\.json|going_back\.json|events\.jsonl)"
    r"|\.(lock|(params\.yaml|(preprocessing|workers|going_back)\.json)\.partial)"
    rf"|{_DAYS}|set_aside/(\d{{4}}-\d\d-\d\dT\d{{6}}Z/({_DAYS}|export/(\d+/({VERSION})?)?)?)?"
    rf"|export/(latest@|\.lock|\.latest\.partial@|\.highest(\.partial)?|\.\.highest\.partial|(\d+|latest)/({VERSION})?)?"
    r"|export/\.(tfstable-[0-9a-f]{12}\.partial|\d+\.(old|partial))/.*"
    r"|tensorboard/(events\.out\.tfevents\.[^/@]*|plugins/.*)?"
    r"|\.deleted\.partial/.*"
)
LEFT_OVER = {LOCK, f".{NAME}.partial"}  # Of a run that was killed before it began.
BUSY = "wait until it ends, or choose another --model-dir"


class RunDirectory:
    """Where a run keeps its files.

    The constructor checks the directory and changes nothing; `begin` makes the directory.

    Args:
        path: The directory.
        config: The config of this run.
        fresh: Ignore what an earlier run left there; `begin` deletes it.
        writable: Whether this process writes the run's files. Of several workers the chief does; on the others, writing
            methods do nothing.

    Attributes:
        remarks: Lines for the user on what the begin of this run has changed.

    Raises:
        InputError: If the directory holds a run with another config or format, or anything but a run, or the path is no
            directory.
    """

    def __init__(self, path: Path, config: Config, fresh: bool = False, writable: bool = True):
        self.writable, self.remarks = writable, list[str]()
        self.path, self._config, self._fresh = Path(path), config, fresh
        self._params = self.path / NAME
        self._check()

    def refuse_if_in_use(self) -> None:
        """Raises an InputError if another process writes here; changes nothing."""
        if self.writable:
            refuse_if_locked(self.path, BUSY)

    def locked(self) -> AbstractContextManager[None]:
        """Locks the directory against other processes inside the block, for `begin` and everything after it."""
        return locked(self.path, BUSY) if self.writable else nullcontext()

    def begin(self, statistics: Statistics) -> Statistics:
        """Makes the directory, or empties it if the run is fresh, and writes the config and `statistics`.

        Returns:
            The run's statistics: from an earlier start if there was one.
        """
        if not self.writable:
            return statistics
        self._check()  # Again: another process may have been here before this one had the lock.
        try:
            if self._fresh:
                self._delete()
            self.path.mkdir(parents=True, exist_ok=True)
            self._note_changes()
            write_params(self._params, self._config)
            if not os.path.lexists(self._preprocessing):
                write_json(self._preprocessing, {"format": FORMAT, **statistics.model_dump(mode="json")})
            return self.statistics() or statistics
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); choose another --model-dir") from None

    def _note_changes(self) -> None:
        if not self._params.exists():
            return
        replaced, noted = read_params(self._params)["checksum"], self.events("config_changed")
        new = noted_changes(read_config(self.path), self._config, replaced, noted)
        if new:
            self.add_event("config_changed", **event(new, replaced))
        if shown := ", ".join(str(change) for change in new if change.when is not When.OPERATIONAL):
            self.remarks.append(f"config changed: {shown}")

    @property
    def _preprocessing(self) -> Path:
        return self.path / "preprocessing.json"

    @property
    def _recovery(self) -> Path:
        return self.path / "recovery.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def has_checkpoints(self) -> bool:
        """Whether there is a checkpoint, from which a start goes on, or fails."""
        return any(path.name.isdecimal() for path in self.checkpoints.glob("*"))

    @property
    def counters(self) -> Path:
        return self.path / "counters"

    @property
    def late(self) -> Path:
        return self.path / "late"

    @property
    def exports(self) -> Path:
        return self.path / "export"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def statistics(self) -> Statistics | None:
        """Returns the statistics that an earlier start of this run fitted; None if there are none yet."""
        if self._fresh or not self._preprocessing.exists():
            return None
        remedy = "restore it from a backup, or start again with --fresh"
        stored = read_json(self._preprocessing, remedy)
        stored.pop("format", None)
        try:
            return Statistics.model_validate(stored)
        except ValidationError:
            raise InputError(f"{self._preprocessing}: not the statistics of a run; {remedy}") from None

    def window(self, last: date) -> WindowRecord | None:
        """Returns the record of the window that ends at `last`; None if it was not written."""
        path = self._window_path(last)
        return self._record(path) if path.exists() else None

    def windows(self) -> list[WindowRecord]:
        """Returns the records of all windows, the oldest first."""
        return [self._record(path) for path in sorted(self.path.glob("windows/????-??-??/metrics.json"))]

    def evaluations(self) -> list[tuple[str, Metrics]]:
        """Returns the evaluated days in order, each with the metrics by task of the model that had not seen it."""
        found: dict[str, Metrics] = {}
        for record in self.windows():
            found |= {str(day): tasks for day, tasks in record.evaluations.items()}
        return sorted(found.items())

    def odd_days(self) -> dict[str, dict[str, list[str]]]:
        """Returns the faults of evaluated days, by day and task."""
        return {str(day): dict(tasks) for record in self.windows() for day, tasks in record.odd.items()}

    def newest(self) -> WindowRecord | None:
        """Returns the record of the last evaluated window; None before there is one."""
        return next((record for record in reversed(self.windows()) if record.eval_day is not None), None)

    def first_day(self) -> date:
        """Returns the first day that was trained on, once a window is finished."""
        return self.windows()[0].window[0]

    def write_window(self, record: WindowRecord) -> None:
        """Writes the record of a window; one with an evaluation day becomes the run's metrics.json as well."""
        if not self.writable:
            return
        stored = plain(record.to_json())
        write_json(self._window_path(record.last), stored)
        if record.eval_day is not None:
            write_json(self.path / "metrics.json", stored)

    def recoveries(self) -> list[dict[str, Any]]:
        """Returns the entries of recovery.json, the run's recoveries, in order."""
        remedy = "restore it from a backup, or start again with --fresh"
        return read_json(self._recovery, remedy)["done"] if self._recovery.exists() else []

    def write_recoveries(self, done: list[dict[str, Any]]) -> None:
        """Writes the entries of recovery.json."""
        if self.writable:
            write_json(self._recovery, {"format": FORMAT, "done": plain(done)})

    def add_event(self, kind: str, **details: Any) -> None:
        """Appends a line to events.jsonl, after cutting off one that a killed process left without its end."""
        if not self.writable:
            return
        line = json.dumps(plain({"event": kind, **details})) + "\n"
        with (self.path / "events.jsonl").open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Returns the events of a kind, in order; skips damaged and incomplete lines."""
        path, begin = self.path / "events.jsonl", json.dumps({"event": kind}).encode()[:-1]
        found = []
        for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
            with suppress(ValueError):
                if line.startswith(begin):
                    found.append(json.loads(line))
        return found

    def _window_path(self, last: date) -> Path:
        return self.path / "windows" / str(last) / "metrics.json"

    def _record(self, path: Path) -> WindowRecord:
        remedy = "restore it from a backup, or remove it: its evaluated days then no longer count"
        return WindowRecord.from_json(read_json(path, remedy))

    def _check(self) -> None:
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise InputError(f"{self.path}: not a directory; choose another --model-dir")
        if not self.path.is_dir() or all(path.name in LEFT_OVER for path in self.path.iterdir()):
            return
        if not os.path.lexists(self._params):
            raise InputError(f"{self.path}: not empty and not a run of tfstable; choose another --model-dir")
        if not self._fresh:
            self._check_same(self._config, read_config(self.path))
            return
        read_params(self._params)
        if (unknown := stranger(self.path, OWN)) is not None:
            raise InputError(
                f"{unknown}: not of this run, so --fresh deletes nothing; move it away, or choose another --model-dir"
            )

    def _delete(self) -> None:
        """Deletes the run; `_check` has found that the directory holds nothing else."""
        trash = self.path / ".deleted.partial"
        trash.mkdir(exist_ok=True)
        left = [path for path in self.path.iterdir() if path.name not in (LOCK, trash.name)]
        for path in sorted(left, key=lambda path: path == self._params):  # Last: it marks the directory as a run.
            if path.is_dir() and (trash / path.name).exists():
                shutil.rmtree(trash / path.name)  # Of a deletion that was killed.
            path.replace(trash / path.name)
        shutil.rmtree(trash)
        self._fresh = False

    def _check_same(self, config: Config, earlier: Config) -> None:
        if refused := [change for change in changes(earlier, config) if change.when is When.NEVER]:
            more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
            raise InputError(
                f"{self.path}: holds a run with another config: {', '.join(map(str, refused[:3]))}{more}, which "
                "changes shapes or meaning; use --init-from with another --model-dir to carry the model over, or "
                "--fresh to delete this run"
            )
