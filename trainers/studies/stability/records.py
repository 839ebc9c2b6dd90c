"""Keeps each run: a small JSON file, and its losses in a second file. A rerun of the grid skips runs that are there."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfstable.data.log import DayLog
from tfstable.files import arrays_beside, keep, recall
from trainers.config import weight_keys
from trainers.studies.stability.bench import Point, Trained
from trainers.studies.stability.config import StabilityConfig

Folder = Literal["runs", "watched", "poisoned"]


class Records:
    """The runs of a grid in a directory, DIR/runs/NAME.json and NAME.npz; DIR/watched and DIR/poisoned have their own.

    A name ends in a digest of everything that the run depends on, so a grid may grow or change and still use the
    finished runs.

    Args:
        path: DIR.
        config: The grid's config.
        log: Its log.
    """

    def __init__(self, path: Path, config: StabilityConfig, log: DayLog):
        self._path, self._config = Path(path), config
        self._log = [[str(day), log.rows(day)] for day in log.days]

    def get(self, run: Point, train: Callable[[], Trained], folder: Folder = "runs") -> dict[str, Any]:
        """Returns the record of a run; trains the run first if it has none."""
        path = self._file(run, folder)
        if not path.exists():
            trained = train()
            record = {
                **vars(run),
                "steps": len(trained.losses),
                "steps_planned": trained.steps_planned,
                "seconds": trained.seconds,
                "findings": trained.findings,
                "days": trained.days,
            }
            keep(path, record, {"losses": trained.losses, **trained.watched})
        return recall(path)

    def arrays(self, run: Point, folder: Folder = "runs") -> dict[str, np.ndarray]:
        """Returns a run's `losses`, `(steps, 1 + tasks)`, and if watched its diagnostics by `variable|figure`."""
        return arrays_beside(self._file(run, folder))

    def _file(self, run: Point, folder: Folder) -> Path:
        treatment = self._config.stability.treatments[run.treatment][run.threshold]
        config = weight_keys(self._config.run_config(run.model, treatment, run.rate, run.seed))
        own = {key: value for key, value in config.items() if not key.startswith("stability.")}
        grid = self._config.stability
        kind: list[Any] = []
        if folder == "poisoned" and grid.poison is not None:
            kind = [grid.poison.model_dump()]
        if folder == "watched":
            kind = [grid.sharpness_steps, grid.sharpness_every]
        known = json.dumps([own, grid.detector.model_dump(), grid.choosing_days, self._log, *kind], default=str)
        digest = hashlib.sha256(known.encode()).hexdigest()[:8]
        return self._path / folder / f"{run.model}-{run.treatment}-{run.rate:g}-{run.seed}-{digest}.json"
