"""Reports infinite numbers in the log, which count as missing: one event and line per file and column and run."""

from collections.abc import Iterable

from tfstable.data.values import Infinite
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory


class InfiniteValues:
    """Reports infinite numbers.

    Args:
        run: The run's directory, begun; what its events already hold is not reported again.
        report: What the user sees.
    """

    def __init__(self, run: RunDirectory, report: Report):
        self._run, self._report = run, report
        self._told = {(e.get("file"), e.get("column"), e.get("count")) for e in run.events("infinite_values")}

    def tell(self, found: Iterable[Infinite]) -> None:
        """Reports what was found, unless it was reported before."""
        for infinite in found:
            key = (str(infinite.path), infinite.column, infinite.rows)
            if key not in self._told:
                self._told.add(key)
                self._run.add_event("infinite_values", **dict(zip(("file", "column", "count"), key, strict=True)))
                self._report.found(str(infinite))
