"""The calibration maps of a model's tasks."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf

from tfstable.calibration import Knots
from tfstable.models import tasks as task_math
from tfstable.models.saved_seeds import SavedSeeds
from tfstable.specs import TaskSpec


class CalibratedModel(SavedSeeds):
    """A model with a monotone map of the logit for each task that has `calibrate`.

    Training does not change the maps; they are assigned from outside, and change nothing before. They are among
    `variables`, so `.keras` files, exports and copies by name hold them, but no `weights`: a `tf.train.Checkpoint`
    does not hold them, so that a run can begin to calibrate between two checkpoints.
    """

    task_specs: Mapping[str, TaskSpec]
    #: The map of each calibrated task, `(3, MOST)` as `Knots.packed` has it.
    calibration: Mapping[str, keras.Variable] = MappingProxyType({})

    def make_maps(self) -> None:
        """Makes the maps, outside of any name scope. Called by `__init__`, once `task_specs` is there."""
        made, start = {}, Knots.identity().packed()
        with keras.name_scope(self.name), keras.name_scope("calibration"):
            for name, task in self.task_specs.items():
                if task.calibrate is not None:
                    made[name] = keras.Variable(
                        start, dtype=self.logit_dtype, trainable=False, autocast=False, name=name
                    )
        self.__dict__["calibration"] = made  # Past Keras, which would track them as weights.

    @property
    def logit_dtype(self) -> str:
        """float32, or float64 under the policy "float64": a logit in bfloat16 would have only two digits."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def variables(self) -> list[keras.Variable]:
        return [*super().variables, *self.calibration.values()]

    def random_states(self) -> list[keras.Variable]:
        """Returns the states of the model's random generators, such as those of dropout."""
        maps = {id(knots) for knots in self.calibration.values()}
        return [state for state in self._other_states() if id(state) not in maps]

    def predictions(self, logits: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the predictions of each task, `(batch,)`, in its own units; calibrated if the task says so."""
        return {
            name: task_math.prediction(task, logits[name], *self._maps(name)) for name, task in self.task_specs.items()
        }

    def _maps(self, task: str) -> list[Callable[[tf.Tensor], tf.Tensor]]:
        knots = self.calibration.get(task)
        return [] if knots is None else [partial(calibrated, knots=knots)]

    def uncalibrated_logits(self, logits: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns what the maps of the calibrated tasks take, `(batch,)`."""
        return {name: task_math.population_logits(self.task_specs[name], logits[name]) for name in self.calibration}

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        children = super()._trackable_children(save_type, **kwargs)
        if save_type == "savedmodel" and self.calibration:  # There, every variable that a function reads.
            children["calibration"] = tf.__internal__.tracking.wrap([v.value for v in self.calibration.values()])
        return children


def calibrated(logits: tf.Tensor, knots: tf.Tensor) -> tf.Tensor:
    """Returns the calibrated logits, `(batch,)`.

    A sum of terms that never fall as the logit rises, in one order, never falls either, not even by rounding.

    Args:
        logits: `(batch,)`.
        knots: `(3, MOST)`, as `Knots.packed` returns them.
    """
    x, y, slope = tf.unstack(tf.cast(tf.convert_to_tensor(knots), logits.dtype))
    beyond = y[0] + (tf.minimum(logits - x[0], 0.0) + tf.maximum(logits - x[-1], 0.0))
    widths = tf.concat([x[1:] - x[:-1], [0.0]], axis=0)
    inside = slope * tf.clip_by_value(logits[:, None] - x, 0.0, widths)  # (batch, MOST)
    return beyond + tf.reduce_sum(inside, axis=1)
