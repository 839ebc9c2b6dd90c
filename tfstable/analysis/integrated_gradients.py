"""Integrated gradients: what each feature of a row adds to each task's logit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import tensorflow as tf

from tfstable.errors import InputError
from tfstable.models import RankingModel
from tfstable.models.ranking import Inputs

POINTS = 64
OF_HISTORY = "sequences/"  # Begins the name of what is read of a history: a feature may have its name.


class Embedded(NamedTuple):
    """What the model computes on, once its inputs are looked up.

    Attributes:
        x: `(rows, width)`, the input vector: embeddings, numbers, vectors, what is read of histories.
        wide: `(rows, features, tasks)`, the linear model's terms; no features without it.
    """

    x: tf.Tensor
    wide: tf.Tensor


class Shares(NamedTuple):
    """Shares of rows.

    Attributes:
        shares: By task, `(rows, parts)`, in the order of `IntegratedGradients.parts`.
        logits: By task, `(rows,)`, of the rows.
        starts: By task, `(rows,)`, of where the path begins: equal for all rows.
    """

    shares: dict[str, tf.Tensor]
    logits: dict[str, tf.Tensor]
    starts: dict[str, tf.Tensor]


class IntegratedGradients:
    """Splits the logit of each task into shares of the features.

        share_f = sum_{i in f} (x_i - x'_i) 1/M sum_m dF/dx_i(x' + (m - 1/2)/M (x - x')),   m = 1 .. M

    F is a task's logit as a function of the embedded input x, and x' its start. With enough points the shares add up
    to F(x) - F(x'): completeness. A feature's coordinates are its embedding, its number or its vector, and its terms of
    the linear model (`wide`). A history is one part: what is read of it depends on its events and on its query, and how
    it is read is not taken apart. The logit is that before the task's calibration; of a regression it is the output
    before the inverse transform.

    Args:
        model: The model. Of a subclass, every stage but `embed` may be its own.
        points: M, at least 1.

    Attributes:
        parts: Names of the parts: features, then "sequences/NAME" for histories.

    Raises:
        ValueError: If `points` is below 1.

    Reference:
        Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", 2017.
    """

    def __init__(self, model: RankingModel, points: int = POINTS):
        if points < 1:
            raise ValueError(f"points must be at least 1, got {points}")
        if not model.built:
            model.build()  # Not in a loop of a graph.
        self._model, self._points, self.tasks = model, points, list(model.task_specs)
        widths = {name: model.embeddings.features[name].dim for name in model.pooled} | model.number_widths()
        if model.histories is not None:
            widths |= {OF_HISTORY + name: width for name, width in model.histories.widths.items()}
        self.parts, self._widths = list(widths), list(widths.values())
        self._wide_parts = [] if model.wide is None else [self.parts.index(name) for name in model.wide.features]

    def embedded(self, features: Inputs) -> Embedded:
        """Looks up the model's inputs.

        Raises:
            InputError: If the model's `embed` returns another vector than its features make.
        """
        model = self._model
        x = model.stage(model.embed, features, training=False)
        if (read := model.stage(model.sequence, features, training=False)) is not None:
            x = tf.concat([x, read], axis=1)
        if x.shape[1] != sum(self._widths):
            raise InputError(
                f"{type(model).__name__}.embed returns a vector of width {x.shape[1]}, but its features have "
                f"{sum(self._widths)}: which number is whose is unknown; explain a model with RankingModel's embed"
            )
        dtype = model.logit_dtype  # Of a line in bfloat16 only a few points would differ.
        if model.wide is None:
            return Embedded(tf.cast(x, dtype), tf.zeros([tf.shape(x)[0], 0, 0], dtype))
        wide = tf.stack(list(model.wide(features).values()), axis=1)
        return Embedded(tf.cast(x, dtype), tf.cast(wide, dtype))

    def __call__(self, features: Inputs, start: Embedded | None = None) -> Shares:
        """Returns the shares of rows, M times as much work as a backward pass per task.

        Args:
            features: The model's inputs.
            start: x', one row; None: zeros. A layer normalisation turns quickly near zeros, so many points are needed
                there; the mean of rows needs fewer.
        """
        end = self.embedded(features)
        begin = Embedded(*map(tf.zeros_like, end)) if start is None else start
        begin = Embedded(*(tf.broadcast_to(b, tf.shape(e)) for b, e in zip(begin, end, strict=True)))
        change = Embedded(end.x - begin.x, end.wide - begin.wide)

        def add(m: tf.Tensor, *totals: tf.Tensor) -> list[tf.Tensor]:
            share = (tf.cast(m, change.x.dtype) + 0.5) / self._points
            here = [b + share * c for b, c in zip(begin, change, strict=True)]
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(here)
                logits = self._logits(features, Embedded(*here))
            zero = tf.UnconnectedGradients.ZERO
            each = [tape.gradient(logits[task], here, unconnected_gradients=zero) for task in self.tasks]
            del tape
            return [m + 1, *(t + g for t, g in zip(totals, (g for of_task in each for g in of_task), strict=True))]

        zeros = [tf.zeros_like(c) for _ in self.tasks for c in change]
        _, *totals = tf.while_loop(lambda m, *_: m < self._points, add, [0, *zeros], parallel_iterations=1)
        shares = {}
        for number, task in enumerate(self.tasks):
            of_task = zip(change, totals[2 * number : 2 * number + 2], strict=True)
            shares[task] = self._by_part(*(c * total / self._points for c, total in of_task))
        return Shares(shares, self._logits(features, end), self._logits(features, begin))

    def _by_part(self, of_x: tf.Tensor, of_wide: tf.Tensor) -> tf.Tensor:
        """Sums over the coordinates of each part, `(rows, parts)`."""
        columns = [tf.reduce_sum(part, axis=1) for part in tf.split(of_x, self._widths, axis=1)]
        for place, part in enumerate(self._wide_parts):
            columns[part] += tf.reduce_sum(of_wide[:, place], axis=1)
        return tf.stack(columns, axis=1)

    def _logits(self, features: Inputs, inputs: Embedded) -> dict[str, tf.Tensor]:
        with _reading(self._model, inputs):
            logits = self._model.logits(features, training=False)
        return {task: logits[task] for task in self.tasks}


@contextmanager
def _reading(model: RankingModel, inputs: Embedded) -> Iterator[None]:
    """Lets the model compute on these inputs instead of those that it looks up."""

    def embed(features: Inputs, training: bool | None = None) -> tf.Tensor:
        return tf.cast(inputs.x, model.compute_dtype)

    def sequence(features: Inputs, training: bool | None = None) -> None:
        return None

    def wide_logits(features: Inputs, training: bool | None = None) -> dict[str, tf.Tensor]:
        total = tf.unstack(tf.reduce_sum(inputs.wide, axis=1), num=len(model.wide_tasks), axis=1)
        return dict(zip(model.wide_tasks, total, strict=True))

    stages: dict[str, Any] = {"embed": embed, "sequence": sequence}
    if model.wide is not None:
        stages["wide_logits"] = wide_logits
    model.__dict__.update(stages)  # Past Keras, which would note each as a change of the model.
    try:
        yield
    finally:
        for name in stages:
            del model.__dict__[name]


def completeness(shares: Mapping[str, Any], logits: Mapping[str, Any], starts: Mapping[str, Any]) -> dict[str, float]:
    """Returns by task how much shares miss of what they explain.

        sum |F(x) - F(x') - sum_f share_f| / sum |F(x) - F(x')|

    Args:
        shares, logits, starts: As in `Shares`, NumPy arrays or tensors; sums run over their rows.
    """
    found = {}
    for task, of_task in shares.items():
        change = tf.cast(logits[task], tf.float64) - tf.cast(starts[task], tf.float64)
        missed = tf.abs(change - tf.reduce_sum(tf.cast(of_task, tf.float64), axis=1))
        found[task] = float(tf.reduce_sum(missed) / tf.maximum(tf.reduce_sum(tf.abs(change)), 1e-30))
    return found
