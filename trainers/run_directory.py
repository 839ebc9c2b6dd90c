"""The files of a run, MODEL_DIR: each is written whole under another name and renamed, so none is ever half there."""

import json
import math
import os
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tfstable.errors import InputError
from tfstable.statistics import Statistics
from trainers.config import Config, dump, load, weight_keys


class RunDirectory:
    """Where a run keeps its files.

    Making one checks it and touches nothing; `begin` makes the directory.

    Args:
        path: The directory.
        config: The config of this run.
        fresh: Begin anew: what an earlier run left there does not count, and `begin` deletes it.
        writable: Whether this process writes the run's files. Of several workers the chief does; for the others, what
            would write does nothing.

    Raises:
        InputError: If an earlier run with another config is there, or the path is no directory that can be written.
    """

    def __init__(self, path: Path, config: Config, fresh: bool = False, writable: bool = True):
        self.writable = writable
        self.path, self._config, self._fresh = Path(path), config, fresh
        self._params = self.path / "params.yaml"
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{path}: not a directory; choose another --model-dir")
        if self.path.is_dir() and any(self.path.iterdir()) and not self._params.exists():
            raise InputError(f"{path}: not empty and not a run of tfstable; choose another --model-dir")
        if self._params.exists() and not fresh:
            self._check_same(config, load(self._params))

    def begin(self, statistics: Statistics):
        """Makes the directory, or deletes what is there if the run is fresh, and writes the config and `statistics`."""
        if not self.writable:
            return
        try:
            if self._fresh and self._params.exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            write(self._params, dump(self._config))
            if not self._preprocessing.exists():
                write(self._preprocessing, statistics.model_dump_json(indent=1))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); choose another --model-dir") from None

    @property
    def _preprocessing(self) -> Path:
        return self.path / "preprocessing.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

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
        return Statistics.model_validate_json(self._preprocessing.read_text(encoding="utf-8"))

    def window_metrics(self, last: date) -> dict[str, Any] | None:
        """Returns the metrics of the window that ends at `last`; None if they were not written."""
        path = self.path / "windows" / str(last) / "metrics.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def evaluations(self) -> list[tuple[str, dict[str, dict[str, float]]]]:
        """Returns the evaluated days in order, each with the metrics by task of the model that had not seen it."""
        found = {}
        for path in sorted(self.path.glob("windows/*/metrics.json")):
            metrics = json.loads(path.read_text(encoding="utf-8"))
            if metrics["eval_day"] is not None:
                found |= {metrics["eval_day"]: metrics["tasks"], **metrics.get("later_days", {})}
        return sorted(found.items())

    def newest_metrics(self) -> dict[str, Any] | None:
        """Returns the metrics of the last evaluation day; None before there is one."""
        path = self.path / "metrics.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def write_window_metrics(self, last: date, metrics: dict[str, Any]):
        """Writes a window's metrics; those with an evaluation day become the run's newest as well."""
        if not self.writable:
            return
        text = to_json(metrics)
        write(self.path / "windows" / str(last) / "metrics.json", text)
        if metrics["eval_day"] is not None:
            write(self.path / "metrics.json", text)

    def add_event(self, kind: str, **details: Any):
        """Appends a line to events.jsonl, after cutting off one that a killed process left without its end."""
        if not self.writable:
            return
        line = json.dumps(_plain({"event": kind, **details})) + "\n"
        with (self.path / "events.jsonl").open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Returns the events of a kind, in order; a line that a killed process left without its end is none."""
        path, begin = self.path / "events.jsonl", json.dumps({"event": kind}).encode()[:-1]
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith(begin)]

    def _check_same(self, config: Config, earlier: Config):
        now, before = weight_keys(config), weight_keys(earlier)
        changed = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
        if changed:
            shown = ", ".join(f"{key} ({before.get(key)} -> {now.get(key)})" for key in changed[:3])
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise InputError(
                f"{self.path}: holds a run with another config: {shown}{more}; "
                "use another --model-dir, or --fresh to delete this run"
            )


def write(path: Path, text: str):
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:  # A full disk.
        partial.unlink(missing_ok=True)
        raise


def keep(path: Path, record: dict[str, Any], arrays: dict[str, np.ndarray]):
    """Writes a record as JSON at `path`, and its arrays beside it as .npz, which `arrays_beside` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.npz")
    np.savez_compressed(partial, **arrays)
    partial.replace(path.with_suffix(".npz"))
    write(path, to_json(record))  # Last: a record says that all of it is there.


def arrays_beside(path: Path) -> dict[str, np.ndarray]:
    with np.load(path.with_suffix(".npz")) as file:
        return {name: file[name] for name in file.files}


def to_json(value: Any) -> str:
    """Returns JSON with plain numbers; what is not finite becomes null, for JSON knows no NaN."""
    return json.dumps(_plain(value), indent=1) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
