"""Follows the losses and the optimizer while a window is trained."""

from typing import Any

import numpy as np

from tfstable.analysis import SharpnessProbe, TaskGradients
from trainers.build.shuffle import make_shuffle
from trainers.config import TrainerConfig
from trainers.health.loss_watch import Batch
from trainers.health.recoveries import Diverged
from trainers.report.console import Report
from trainers.store.run_directory import RunDirectory
from trainers.training.plan import Plan
from trainers.training.state import RunState

LOOKED_THROUGH = 16  # Batches of the log out of which groups are taken for the batch that sharpness is measured on.


class Losses:
    """Follows losses, skipped steps, the optimizer's diagnostics and the sharpness of a run.

    Args:
        config: The config's trainer section.
        state: The model, its optimizer and its loss watch.
        run: The run's directory, for events.
        report: What the user sees.
    """

    def __init__(self, config: TrainerConfig, state: RunState, run: RunDirectory, report: Report):
        self._config, self._state, self._run, self._report = config, state, run, report
        self._sharpness = SharpnessProbe(state.learner.model, state.learner.optimizer)
        self._task_gradients = TaskGradients(state.learner.model)

    def begin(self, plan: Plan) -> None:
        """Begins or continues a window."""
        self._plan = plan
        self._state.watch.begin(plan.window.last, plan.total)
        self._skipped = self._state.skipped_steps  # Already reported.

    def look(self, numbers: np.ndarray, losses: np.ndarray) -> None:
        """Checks losses and optimizer after the batches `numbers` of the window.

        Args:
            numbers: `(steps,)`, ascending.
            losses: `(steps, 1 + tasks)`.

        Raises:
            Diverged: Once it is certain that the total loss has diverged.
        """
        self._look_at_losses(numbers, losses)
        self._look_at_skipped(int(numbers[0]), int(numbers[-1]))
        iteration, count = self._state.iteration, len(numbers)
        if (every := self._config.track_every) and iteration // every > (iteration - count) // every:
            self._report.diagnostics(self._state.learner.steps.diagnostics(), iteration // every * every)
        if (every := self._config.sharpness_every) and iteration // every > (iteration - count) // every:
            self._report.diagnostics({"sharpness": self._sharpness(*self._fixed_batch())}, iteration)
        if (every := self._config.task_gradients_every) and iteration // every > (iteration - count) // every:
            figures = self._task_gradients(*self._fixed_batch())
            if (weights := self._state.learner.model.task_weights) is not None:
                for name, value in zip(weights.tasks, weights.weights_now().numpy().tolist(), strict=True):
                    figures[name]["loss_weight"] = value
            self._report.diagnostics(figures, iteration)

    def _look_at_losses(self, numbers: np.ndarray, losses: np.ndarray) -> None:
        watch, last = self._state.watch, Batch(self._plan.window.last, int(numbers[-1]))
        for finding in watch.update(numbers, losses):
            first = watch.batch(finding.first_step)
            what = f"{finding.kind.replace('_', ' ')} of {finding.column} from batch {first.number} of {first.last} on"
            figures = {
                "column": finding.column,
                "window_end": first.last,
                "batches": [first.number, watch.batch(finding.last_step).number],
                **finding.figures,
            }
            if finding.kind == "full_divergence" and finding.column == "loss":
                raise Diverged(what, first, last, figures)
            self._run.add_event(finding.kind, **figures)
            self._report.found(what)

    def _look_at_skipped(self, first: int, last: int) -> None:
        window, skipped = self._plan.window, self._state.skipped_steps
        if (new := skipped - self._skipped) > 0:
            self._run.add_event("skipped_steps", window_end=window.last, steps=[first, last], count=new)
            self._report.skipped(window, first, last, new)
            self._skipped = skipped

    def _fixed_batch(self) -> Any:
        """Returns features, labels and weights of one batch of the window, always the same."""
        reader, size = self._state.reader, self._config.batch_size
        key = (self._config.seed, self._plan.window.last.toordinal())
        batches = reader.batches(self._plan.window.days, size, size)
        if self._config.shuffle.kind == "groups":  # The rows of a group need not be neighbours.
            shuffle = make_shuffle(self._config.shuffle)
            batches = reader.batches(self._plan.window.days, size, LOOKED_THROUGH * size, shuffle)
        return reader.layout.unpack(next(batches.one_pass(key)))
