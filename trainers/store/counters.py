"""MODEL_DIR/counters: the counters' sums from which each checkpoint goes on, so that no day is read again for them."""

from collections import deque
from datetime import date
from pathlib import Path

from tfstable.data.digest import day_digest
from tfstable.data.log import DayLog
from tfstable.errors import InputError
from tfstable.files import arrays_beside, keep, read_json
from tfstable.inputs.counted_days import Counted
from tfstable.inputs.counters import Sums


class CounterStore:
    """Keeps sums beside the checkpoints, in a file named for the last day of the window that was trained before.

    They count as long as the log has every day that they count as it was; days that retention has removed from the
    log's beginning stay counted. Without a file that counts, the log is counted from its beginning: a file that is
    missing changes no bit as long as the log is whole.

    Args:
        directory: Where the files are.
        log: The log.

    Attributes:
        notes: Lines on files that were found damaged or outdated.
    """

    def __init__(self, directory: Path, log: DayLog):
        self._directory, self._log = directory, log
        self._useless: set[Path] = set()
        self._facts: dict[date, list] = {}
        self.notes: deque[str] = deque()  # Filled by a thread that reads ahead.

    def save(self, last: date, counted: Counted) -> None:
        """Writes the sums from which to go on after the window that ends at `last`."""
        names = list(counted.sums)
        arrays = {f"buckets_{i}": counted.sums[name].buckets for i, name in enumerate(names)}
        arrays |= {f"values_{i}": counted.sums[name].values for i, name in enumerate(names)}
        record = {"day": str(counted.day), "counters": names, "days": self._counted_days(counted.day)}
        keep(self._directory / f"{last}.json", record, arrays, compress=False)

    def prune(self, lasts: set[date | None]) -> None:
        """Deletes the files of windows that end at other days than these."""
        kept = {str(last) for last in lasts}
        for path in self._directory.glob("????-??-??.*"):
            if path.name.partition(".")[0] not in kept and path.suffix in (".json", ".npz"):
                path.unlink()

    def newest(self, day: date) -> Counted | None:
        """Returns the latest sums at the end of `day` or before that count."""
        for path in sorted(self._directory.glob("????-??-??.json"), reverse=True):
            try:
                record = read_json(path, "the log is counted again")
                counted = date.fromisoformat(record["day"])
                if counted > day:
                    continue
                first = str(self._log.counted[0])
                if {d: facts for d, facts in record["days"].items() if d >= first} != self._counted_days(counted):
                    raise InputError(f"{path}: days that it counts have changed since")
                arrays = arrays_beside(path)
            except InputError as error:
                if path not in self._useless:
                    self.notes.append(f"{str(error).partition(';')[0]}; the log is counted again")
                self._useless.add(path)
                continue
            names = record["counters"]
            return Counted(
                counted, {n: Sums(arrays[f"buckets_{i}"], arrays[f"values_{i}"]) for i, n in enumerate(names)}
            )
        return None

    def _counted_days(self, last: date) -> dict[str, list]:
        """Rows and digest of each day of the log up to `last`."""
        days = [day for day in self._log.counted if day <= last]
        for day in days:
            if day not in self._facts:
                self._facts[day] = [self._log.rows(day), day_digest(self._log, day)]
        return {str(day): self._facts[day] for day in days}
