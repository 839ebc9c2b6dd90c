"""MODEL_DIR/late: predictions of days whose labels are not complete yet, by the models of that time."""

from datetime import date
from pathlib import Path

import numpy as np

from tfstable.errors import InputError
from tfstable.files import arrays_beside, keep


class LatePredictions:
    """Keeps what the model of a day predicted for the next one, until the labels are there to measure it.

    Args:
        directory: Where the files are: DAY.json and DAY.npz.
    """

    def __init__(self, directory: Path):
        self._directory = directory

    def days(self) -> list[date]:
        """Returns the days of which something is kept, in order."""
        return sorted(date.fromisoformat(path.stem) for path in self._directory.glob("????-??-??.json"))

    def save(self, day: date, predictions: dict[str, np.ndarray]) -> None:
        """Keeps the predictions of a day, by task; nothing is left of a day without any."""
        if predictions:
            keep(self._directory / f"{day}.json", {"day": day, "tasks": list(predictions)}, predictions, compress=False)
            return
        for suffix in (".json", ".npz"):
            (self._directory / f"{day}{suffix}").unlink(missing_ok=True)

    def load(self, day: date) -> dict[str, np.ndarray]:
        """Returns the predictions of a day, `(rows,)` by task; none if the file is damaged."""
        try:
            return arrays_beside(self._directory / f"{day}.json")
        except InputError:
            return {}
