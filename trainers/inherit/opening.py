"""From a directory to the trained model in it. TensorFlow is imported when arrays are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tfstable.errors import InputError
from tfstable.files import digest, read_json
from tfstable.inputs.ids import IdMap
from tfstable.inputs.statistics import Statistics, table_name
from tfstable.options import RankingOptions
from tfstable.serving import card as cards
from tfstable.serving import facts, versions
from tfstable.specs import Feature, TaskSpec, living
from trainers.config import Config, EmaConfig, InitConfig, SwaConfig
from trainers.inherit.calibration import packed_maps, stored_maps
from trainers.inherit.source import Source
from trainers.inherit.tfrs import spec as tfrs
from trainers.store.params import NAME, read_config
from trainers.store.run_directory import RunDirectory

if TYPE_CHECKING:
    from trainers.inherit.tensors import Tensors

ABOUT, CALIBRATION = "about.json", "calibration.json"


def open_source(init: InitConfig) -> Source:
    """Opens the trained model that a config names.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    path = init.source
    if (path / NAME).exists():
        return RunSource.open(path)
    if (path / ABOUT).exists() and path.parent.name == "checkpoints":
        return RunSource.open(path.parent.parent, path.name)
    if (path / cards.JSON).exists():
        return ExportSource.open(path)
    if (file := tfrs.find(path)) is not None:
        from trainers.inherit.tfrs.source import open_tfrs

        return open_tfrs(file)
    raise InputError(
        f"init.from: {path}: neither a run, nor a checkpoint of one (DIR/checkpoints/N), nor an exported version "
        f"(DIR/export/N), nor a TFRS model described by a {tfrs.FILE}"
    )


@dataclass(frozen=True)
class RunSource:
    """A checkpoint of a run."""

    path: Path
    config: Config
    statistics: Statistics
    number: int
    last: date | None

    @classmethod
    def open(cls, run: Path, number: str | None = None) -> "RunSource":
        """Opens a checkpoint of a run, the newest that is whole if no number is given.

        Raises:
            InputError: If the directory is not a run, or has no such checkpoint.
        """
        config = read_config(run)
        statistics = RunDirectory(run, config, writable=False).statistics()
        found = [path for path in run.glob("checkpoints/[0-9]*") if path.name.isdecimal()]
        found = [path for path in found if number in (None, path.name)]
        for path in sorted(found, key=lambda path: int(path.name), reverse=True):
            about = _about(path, must=number is not None)
            if about is not None and statistics is not None:
                last = about["last"] and date.fromisoformat(about["last"])
                return cls(run, config, _refitted(statistics, about.get("moments")), int(path.name), last)
        raise InputError(f"init.from: {run}: no checkpoint can be read; train it first, or name another directory")

    @property
    def name(self) -> str:
        return f"{self.path}, checkpoint {self.number}"

    @property
    def features(self) -> Mapping[str, Feature]:
        return self.config.features

    @property
    def tasks(self) -> Mapping[str, TaskSpec]:
        return self.config.tasks

    @property
    def options(self) -> RankingOptions:
        return RankingOptions(**self.config.model.model_dump(include=set(RankingOptions.model_fields)))

    @property
    def model_class(self) -> str:
        return self.config.model.model_class

    @property
    def model_options(self) -> Mapping[str, Any]:
        return self.config.model.options

    @property
    def precision(self) -> str:
        return self.config.trainer.precision

    @cached_property
    def _tensors(self) -> "Tensors":
        from trainers.inherit.tensors import Tensors

        return Tensors(self.path / "checkpoints" / str(self.number) / "checkpoint")

    def ids(self) -> Mapping[str, IdMap]:
        columns = self.statistics.columns
        dtypes = {table_name(n, f): columns[f.column or n].dtype for n, f in living(self.features).items()}
        if not dtypes:
            return {}
        from tfstable.inputs.living_ids import read_maps

        before, now = read_maps(self.path / "checkpoints" / str(self.number) / "ids.parquet", dtypes)
        return (now or before).maps

    def calibration(self) -> Mapping[str, Any] | None:
        path = self.path / "checkpoints" / str(self.number) / CALIBRATION
        return read_json(path, "name another checkpoint") if path.exists() else None

    @cached_property
    def _maps(self) -> Mapping[str, np.ndarray]:
        return packed_maps(self.tasks, self.calibration())

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {**self._tensors.shapes(), **{path: packed.shape for path, packed in self._maps.items()}}

    def weight(self, path: str, averaged: bool = False) -> np.ndarray:
        if path in self._maps:
            return self._maps[path]
        value = self._tensors.weight(path)
        average = self._tensors.slot(path, "average") if averaged else None
        return value if average is None else self._averaged(path, value, average)

    def slot(self, path: str, name: str) -> np.ndarray | None:
        return self._tensors.slot(path, name)

    def count(self, name: str) -> int | None:
        return self._tensors.count(name)

    def _averaged(self, path: str, value: np.ndarray, average: np.ndarray) -> np.ndarray:
        """The average as `tfstable.optimizers.Ema` and `Swa` have it."""
        config = self.config.optimizer.averaging
        if isinstance(config, SwaConfig):
            return average.astype(value.dtype) if self.count("snapshots") else value
        assert isinstance(config, EmaConfig)  # Else there would be no average.
        covered = self.slot(path, "average_covered")
        s = np.asarray(self.count("covered") if covered is None else covered, np.float64)
        t, h = float(self.count("iteration") or 0), float(config.horizon(self.config.trainer.batch_size))
        decay = np.minimum(s, h) / max(min(t, h), 1) * np.exp((max(t, h) - np.maximum(s, h)) * np.log1p(-1 / h))
        decay = np.asarray(decay)
        decay = decay.reshape(decay.shape + (1,) * (value.ndim - decay.ndim)) if decay.ndim else decay
        v = value.astype(average.dtype)
        return (v + (average - v) * decay.astype(average.dtype)).astype(value.dtype)


@dataclass(frozen=True)
class ExportSource:
    """An exported version: it has the averages for weights, and no optimizer."""

    path: Path
    last: date | None
    model_class: str
    model_options: Mapping[str, Any]
    features: Mapping[str, Feature]
    tasks: Mapping[str, TaskSpec]
    options: RankingOptions
    statistics: Statistics
    precision: str

    @classmethod
    def open(cls, version: Path) -> "ExportSource":
        """Opens an exported version.

        Raises:
            InputError: If it is damaged, or older than these facts in exports.
        """
        version = versions.resolve(version)
        versions.verify(version)
        stored = facts.read(version)
        try:
            return cls(
                version,
                date.fromisoformat(versions.metadata(version).window_end),
                stored["class"],
                stored["class_options"],
                TypeAdapter(dict[str, Feature]).validate_python(stored["features"]),
                TypeAdapter(dict[str, TaskSpec]).validate_python(stored["tasks"]),
                RankingOptions.model_validate(stored["options"]),
                Statistics.model_validate(stored["statistics"]),
                stored["precision"],
            )
        except (ValidationError, KeyError) as error:
            raise InputError(f"init.from: {version}: its model is of another tfstable ({error})") from None

    @property
    def name(self) -> str:
        return str(self.path)

    @cached_property
    def _tensors(self) -> "Tensors":
        from trainers.inherit.tensors import Tensors

        return Tensors(self.path / "variables" / "variables")

    def ids(self) -> Mapping[str, IdMap]:
        return {}  # Its tables do not say how often and when an id was seen.

    def calibration(self) -> Mapping[str, Any]:
        return stored_maps(self.tasks, self.weight)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._tensors.shapes()

    def weight(self, path: str, averaged: bool = False) -> np.ndarray:
        return self._tensors.weight(path)

    def slot(self, path: str, name: str) -> np.ndarray | None:
        return None

    def count(self, name: str) -> int | None:
        return None


def _refitted(first: Statistics, stored: dict[str, Any] | None) -> Statistics:
    """The statistics that a checkpoint's weights fit: their moments may have been refitted since the first window."""
    moments = {name: (mean, deviation) for name, (mean, deviation) in (stored or {"moments": {}})["moments"].items()}
    stand_ins = {name: first.stand_ins.get(name, first.moments[name][0]) for name in moments}
    return first.model_copy(
        update={"moments": first.moments | moments, "stand_ins": first.stand_ins | stand_ins} if moments else {}
    )


def _about(checkpoint: Path, must: bool) -> dict[str, Any] | None:
    """What about.json says of a checkpoint; None if that or TensorFlow's index is damaged, unless it must not be."""
    index = checkpoint / "checkpoint.index"
    try:
        about = read_json(checkpoint / ABOUT, "name another checkpoint")
        if not index.is_file() or digest(index) != about["index"]:
            raise InputError(f"{index}: damaged, its checksum does not match; name another checkpoint")
    except InputError:
        if must:
            raise
        return None
    return about
