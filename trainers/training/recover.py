"""Recovers a diverged run: goes back to a model known to be good, and continues differently."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from tfstable.data.window import windows
from trainers.config import Config
from trainers.health.recoveries import Diverged, DivergedError, Recoveries
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.state import RunState


class Recovery:
    """Carries out the recoveries of a run.

    Args:
        config: The run's config.
        days: The days of the log.
        run: The run's directory.
        state: The state to restore.
        report: What the user sees.
    """

    def __init__(self, config: Config, days: Sequence[date], run: RunDirectory, state: RunState, report: Report):
        self._config, self._days, self._run, self._state, self._report = config, days, run, state, report
        self._recoveries = Recoveries(config.recovery, state.agreement.decide(run.recoveries))
        self.numbers = self._recoveries.numbers

    def start(self) -> None:
        """Restores the newest checkpoint that the last recovery did not give up."""
        self._go_back(None)

    def recover(self, diverged: Diverged, batch_size: int) -> None:
        """Goes back to the newest checkpoint known to be good, and leaves out what made the model diverge.

        Args:
            diverged: The divergence.
            batch_size: Examples of the batches that it numbers.

        Raises:
            DivergedError: If the config allows no further recovery in a row.
        """
        to = self._state.agreement.decide(lambda: self._way_back(diverged.last.last))
        since = to["since"] and date.fromisoformat(to["since"])
        event = {"why": diverged.why, **diverged.figures}
        try:
            done = self._recoveries.add(
                diverged,
                to["restored"],
                to["newest"],
                since,
                [date.fromisoformat(day) for day in to["odd"]],
                batch_size,
            )
        except DivergedError as error:
            self._run.add_event("diverged_for_good", **event)
            raise DivergedError(f"{self._run.path}: {error}") from None
        # Written first: a run that is killed now carries the recovery out at its next start.
        self._run.write_recoveries(self._recoveries.done)
        self._run.add_event("recovery", **event, **done, factor=self._recoveries.rate_factor)
        left_out = f", leaving out {done['skipped']}" if done["skipped"] else ""
        self._report.found(
            f"{diverged.why}: back to checkpoint {to['restored']}, trained to {since or 'nothing yet'}{left_out}, "
            f"learning rates times {self._recoveries.rate_factor:g}"
        )
        self._go_back(to["restored"])

    def in_line(self, last: date) -> None:
        """Marks the model of the window that ends at `last` as good: the next day's metrics are in line."""
        state, before = self._state, self._recoveries.rate_factor
        state.mark_good(last)
        if self._recoveries.in_line(last):
            self._run.write_recoveries(self._recoveries.done)
        if (factor := self._recoveries.rate_factor) != before:
            state.learner.set_rate_factor(factor)
            self._run.add_event("rates_raised", window_end=last, factor=factor)
            self._report.found(f"the window ending {last} is in line: learning rates times {factor:g} from here on")

    def _way_back(self, last: date) -> dict[str, Any]:
        """Returns the checkpoint to restore, the newest one, and the odd last days of the windows between them."""
        checkpoints, trainer, odd = self._state.checkpoints, self._config.trainer, self._run.odd_days()
        known = checkpoints.known_good()
        after = windows(self._days, trainer.window_days, trainer.stride_days, known.last)
        ends = [str(window.last) for window in after if window.last <= last]
        return {
            "restored": known.number,
            "newest": checkpoints.all()[-1].number,
            "since": known.last and str(known.last),
            "odd": [day for day in ends if day in odd],
        }

    def _go_back(self, number: int | None) -> None:
        """Restores a checkpoint; None: the newest."""

        def discard() -> None:
            if self._run.writable and self._recoveries.discarded:
                self._state.checkpoints.discard(*self._recoveries.discarded)

        self._state.agreement.decide(discard)  # No worker looks for checkpoints before the chief has discarded some.
        self._state.restore(number)
        self._state.learner.set_rate_factor(self._recoveries.rate_factor)
