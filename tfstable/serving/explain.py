"""`explain`: each feature's share of the logit of each task, in plain TensorFlow."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfstable.analysis.integrated_gradients import Embedded, IntegratedGradients
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.models import RankingModel
from tfstable.serving.packing import PackedPreprocessor


class Explain:
    """Splits the logits of rows into shares of the features; see `IntegratedGradients`.

    Paths begin at the mean of given rows, which becomes a constant of the graph.

    Args:
        model: The trained model.
        preprocess: Turns raw columns into the model's inputs.
        rows: Raw columns by name, `(rows,)` each, of at least one row: those of which the mean is taken.

    Shapes:
        In: raw columns by name, `(rows,)`. Out, `(rows,)` each: under a task's name its logit before calibration, under
        TASK/FEATURE (TASK/sequences/NAME for a history) the share of a feature. Shares add up to the logit minus that
        of the mean.
    """

    def __init__(
        self, model: RankingModel, preprocess: Preprocessor | PackedPreprocessor, rows: Mapping[str, np.ndarray]
    ):
        self._preprocess, self._gradients = preprocess, IntegratedGradients(model)
        raw = {name: tf.constant(rows[name], spec.dtype) for name, spec in preprocess.signature().items()}
        looked_up = self._gradients.embedded(preprocess(raw))
        self._start = [tf.reduce_mean(each, axis=0, keepdims=True).numpy() for each in looked_up]

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = self._gradients(self._preprocess(raw), Embedded(*map(tf.constant, self._start)))
        outputs = dict(found.logits)
        for task, shares in found.shares.items():
            parts = tf.unstack(shares, num=len(self._gradients.parts), axis=1)
            outputs |= {f"{task}/{part}": share for part, share in zip(self._gradients.parts, parts, strict=True)}
        return outputs
