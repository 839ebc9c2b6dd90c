"""Refits the moments of numeric features before a window trains, and measures what that changes."""

import numpy as np

from tfstable.data.window import Window
from trainers.build.refit import rescale
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.state import RunState

EVENT = "moments_refitted"
SHOWN = 1e-5  # A smaller difference of a prediction is rounding.


def refit(state: RunState, window: Window, run: RunDirectory, report: Report) -> None:
    """Moves the model to the moments of a window, unless a part of it is trained.

    The difference that it makes to predictions for the window's last day goes to events.jsonl.

    Args:
        state: The model, at the end of the window before.
        window: The window that is about to be trained.
        run: The run's directory.
        report: What the user sees.
    """
    new, old = state.moments.before(window).statistics, state.learner.model.statistics
    if state.position.batch or new.moments == old.moments:
        return
    before = state.predict(window.last)
    with state.strategy.scope():
        rescale(state.learner, new)
    after = state.predict(window.last, statistics=new)
    change = {
        name: {"largest": float(np.max(difference)), "mean": float(np.mean(difference))}
        for name, x in before.items()
        for difference in [np.abs(after[name] - x) / np.maximum(1, np.abs(x))]
    }
    events = run.events(EVENT)
    if not events or events[-1]["window_end"] != str(window.last):  # Else an earlier start was killed behind it.
        moved = {name: [old.moments[name], new.moments[name]] for name in sorted(new.moments)}
        moved = {name: pair for name, pair in moved.items() if pair[0] != pair[1]}
        run.add_event(EVENT, window_end=window.last, moments=moved, change=change)
    largest = max(each["largest"] for each in change.values())
    kept = "predictions stay" if largest <= SHOWN else f"predictions for {window.last} change by up to {largest:.2g}"
    report.found(f"moments fitted on the window that ends at {window.last}: {kept}")
