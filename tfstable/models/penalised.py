"""The forward passes of a training step, with what `RankingOptions.penalty` adds to the loss."""

import inspect
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfstable.models.calibrated import CalibratedModel
from tfstable.models.loss_weights import LossWeights
from tfstable.models.penalties import (
    adversarial_move,
    curvatures,
    divergence,
    flooding_sign,
    mean_square,
    normal_rows,
    squared_gradient,
    unit_rows,
    virtual_move,
)
from tfstable.models.targets import Rows, batch_size, weights_by_task
from tfstable.optimizers import is_embedding_table
from tfstable.specs import (
    FgmPenalty,
    FloodingPenalty,
    GradientPenalty,
    NoisePenalty,
    Penalty,
    TaskSpec,
    VatPenalty,
    WeightGradientPenalty,
    labelled,
)

Move = Callable[[tf.Tensor], tf.Tensor]  # From the input vectors, (batch, width), to those that the network reads.


class Trained(NamedTuple):
    """The loss of a training step, on one replica's rows.

    Attributes:
        loss: What to minimise, a scalar: the mean over the rows.
        plain: `compute_loss` without a penalty, a scalar.
        fixed: The same with the tasks' own weights, whatever `task_weights` do, and without `logit_penalty`.
        logits: By task, `(batch,)`.
    """

    loss: tf.Tensor
    plain: tf.Tensor
    fixed: tf.Tensor
    logits: dict[str, tf.Tensor]


class PenalisedModel(CalibratedModel):
    """A model whose training may move the input vectors of the rows.

    A penalty of the kinds noise, gradient, fgm or vat hands a function to `call`, as `move`; `call` gives it the input
    vectors and goes on with what it returns. A second pass over the rows draws the same masks of dropout as the first,
    and counts its losses of `add_loss` anew. Layers that keep statistics, such as BatchNormalization, see both passes.
    """

    task_specs: Mapping[str, TaskSpec]
    task_weights: LossWeights | None = None
    logit_penalty: float = 0.0
    penalty: Penalty | None = None
    noise_seed: keras.random.SeedGenerator | None = None

    def set_penalty(self, penalty: Penalty | None) -> None:
        """Sets the penalty, with a seed if it draws numbers. Called by `__init__`."""
        self.penalty = penalty
        if isinstance(penalty, NoisePenalty | VatPenalty):
            # Never advanced: the numbers of a step are a function of it and of the optimizer's steps, so a step that
            # is skipped leaves no trace. Drawn without a draw, so that the weights start as without a penalty.
            state = random.getstate()
            seed = random.Random(random.getrandbits(64)).getrandbits(30)
            random.setstate(state)
            self.noise_seed = keras.random.SeedGenerator(seed, name="noise")

    def logits(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns the logits of each task, `(batch,)`: a call of the model without the step to predictions."""
        return self(features, training=training, as_logits=True)

    def stage(self, method: Callable[..., Any], *args: Any, training: bool | None) -> Any:
        """Calls a method with `training`, or without if a subclass wrote it so: its layers are told by Keras anyway."""
        parameters = inspect.signature(method).parameters.values()
        takes = any(p.name == "training" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
        return method(*args, training=training) if takes else method(*args)

    @property
    def labelled(self) -> list[str]:
        """Names of the tasks with a label; the others are learned through products."""
        return labelled(self.task_specs)

    # --- A training step.

    def training_gradients(
        self, x: Any, y: Any, sample_weight: Any, rows: Rows, step: Any, scale: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple[list[Any], Trained]:
        """Returns a replica's part of the gradient of each trainable variable, and what they are of.

        Args:
            x, y, sample_weight, rows, step: As of `training_pass`.
            scale: From the loss of the replica's rows to its part of the whole batch's loss.
        """
        values, penalty = [v.value for v in self.trainable_variables], self.penalty
        dense = [i for i, v in enumerate(self.trainable_variables) if not is_embedding_table(v)]
        if not isinstance(penalty, WeightGradientPenalty):
            with tf.GradientTape() as tape:
                trained = self.training_pass(x, y, sample_weight, rows, step)
                scaled = scale(trained.loss)
                if penalty is not None:  # Where it is not finite, every gradient is not, and the step is skipped.
                    scaled *= tf.where(tf.math.is_finite(scaled), tf.ones_like(scaled), float("nan"))
            return tape.gradient(scaled, values), trained
        with tf.GradientTape(watch_accessed_variables=False) as again:
            again.watch([values[i] for i in dense])
            with tf.GradientTape() as tape:
                trained = self.training_pass(x, y, sample_weight, rows, step)
                scaled = scale(trained.loss)
            gradients = tape.gradient(scaled, values)
            dense = [i for i in dense if gradients[i] is not None]
            product = squared_gradient([gradients[i] for i in dense], penalty.rate, _over_replicas)
        for i, more in zip(dense, again.gradient(product, [values[i] for i in dense]), strict=True):
            if more is not None:  # None: the gradient does not depend on any weight.
                gradients[i] += more
        return gradients, trained

    def flooded(self, gradients: list[Any], loss: tf.Tensor, sample_weight: Any, share: Any = None) -> list[Any]:
        """Returns the gradients, turned where the penalty is flooding and the whole batch's loss is below its level.

        Rows of weight 0, such as those that fill up the last batch of a pass, do not lower the loss.

        Args:
            gradients: A replica's part of the gradient of each variable.
            loss: The loss of the replica's rows.
            sample_weight: Their weights, as `compute_loss` takes them.
            share: Their share of the batch; None on one replica.
        """
        if not isinstance(self.penalty, FloodingPenalty):
            return gradients
        weights = self._row_weights(sample_weight)
        counted = tf.reduce_mean(tf.cast(weights > 0, loss.dtype)) if weights is not None else tf.ones_like(loss)
        sums = tf.stack([loss, counted])
        if share is not None:
            part = tf.where(share > 0, sums * tf.cast(share, loss.dtype), 0.0)
            sums = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, part)
        sign = flooding_sign(tf.math.divide_no_nan(sums[0], sums[1]), self.penalty.level)
        return [None if g is None else _times(g, tf.cast(sign, g.dtype)) for g in gradients]

    def training_pass(self, x: Any, y: Any, sample_weight: Any, rows: Rows, step: tf.Tensor) -> Trained:
        """Returns the loss to minimise for a replica's rows, under the caller's tape.

        Args:
            x: Model inputs.
            y: Labels by task, as `labels_by_task` returns them.
            sample_weight: As `compute_loss` takes it.
            rows: Where the rows are in the batch of all replicas.
            step: Steps that the optimizer has taken, an integer scalar.
        """
        penalty, own = self.penalty, batch_size(y)

        def loss_of(logits: Mapping[str, tf.Tensor], training: bool = True) -> tf.Tensor:
            return self.stage(self.compute_loss, x, y, logits, sample_weight, training=training)

        def trained(logits: dict[str, tf.Tensor]) -> Trained:
            """Of the first pass, whose added losses the next pass forgets."""
            plain = loss_of(logits)
            same = self.task_weights is None and not self.logit_penalty
            return Trained(plain, plain, plain if same else loss_of(logits, False), logits)

        def drawn(width: int) -> tf.Tensor:
            assert self.noise_seed is not None
            seed = tf.stack([self.noise_seed.state.value[0], tf.cast(step, self.noise_seed.state.dtype)])
            return normal_rows(seed, rows, own, width)

        if isinstance(penalty, NoisePenalty):
            stddev = penalty.stddev
            return trained(self.moved_logits(x, lambda v: v + tf.cast(stddev * drawn(v.shape[-1]), v.dtype)))
        if not isinstance(penalty, GradientPenalty | FgmPenalty | VatPenalty):
            return trained(self.logits(x, training=True))

        masks = [(state, tf.identity(state.value)) for state in self.random_states()]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            vectors: list[tf.Tensor] = []

            def watch(v: tf.Tensor) -> tf.Tensor:
                tape.watch(v)
                vectors.append(v)
                return v

            first = trained(self.moved_logits(x, watch))
            plain, logits = first.plain, first.logits
            # As the optimizer's sum over the replicas sees it, and so `task_gradient_limit`.
            of_all = plain * (tf.cast(own, plain.dtype) / tf.cast(rows.total, plain.dtype))
            joined = tf.stack([logits[name] for name in self.labelled], axis=1)  # (batch, tasks)
        v, tasks = vectors[0], {name: self.task_specs[name] for name in self.labelled}

        def passed_again(move: tf.Tensor) -> dict[str, tf.Tensor]:
            for state, before in masks:
                state.assign(before)
            return self.moved_logits(x, lambda _: v + move)

        if isinstance(penalty, VatPenalty):
            direction = tf.cast(unit_rows(drawn(v.shape[-1])), v.dtype)
            move = virtual_move(tape, v, joined, curvatures(tasks, logits), direction, penalty.epsilon)
            weights = weights_by_task(self.labelled, sample_weight)
            added = divergence(tasks, logits, passed_again(move), weights)
            return first._replace(loss=plain + penalty.weight * added)
        gradients = tape.gradient(of_all, v) * tf.cast(rows.total, v.dtype)  # Each row's own, (batch, width).
        if isinstance(penalty, GradientPenalty):
            added = tf.cast(mean_square(gradients, self._row_weights(sample_weight)), plain.dtype)
            return first._replace(loss=plain + penalty.weight * added)
        moved = passed_again(adversarial_move(gradients, penalty.epsilon))
        return first._replace(loss=(1 - penalty.share) * plain + penalty.share * loss_of(moved))

    def input_gradients(self, x: Any, loss_of: Callable[[dict[str, tf.Tensor]], tf.Tensor]) -> tf.Tensor:
        """Returns the gradient of each row's loss by its input vector, `(batch, width)`, by a pass of its own.

        Args:
            x: Model inputs.
            loss_of: Takes logits by task, `(batch,)`, and returns a scalar, a mean over the rows.
        """
        vectors: list[tf.Tensor] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def watch(v: tf.Tensor) -> tf.Tensor:
                tape.watch(v)
                vectors.append(v)
                return v

            loss = loss_of(self.moved_logits(x, watch))
        rows = tf.cast(tf.shape(vectors[0])[0], vectors[0].dtype)
        return rows * tape.gradient(loss, vectors[0])

    def moved_logits(self, x: Any, move: Move) -> dict[str, tf.Tensor]:
        """Returns the logits of each task, `(batch,)`, in training, for rows whose input vectors are moved.

        Args:
            x: Model inputs.
            move: Takes and returns the input vectors, `(batch, width)` float32 (float64 under "float64").

        Raises:
            ValueError: If the `call` of a subclass does not pass on `move`.
        """
        used = []

        def noted(v: tf.Tensor) -> tf.Tensor:
            used.append(True)
            return tf.cast(move(tf.cast(v, self.logit_dtype)), v.dtype)

        if takes_move(type(self)):
            logits = self(x, training=True, as_logits=True, move=noted)
        if not used:
            raise ValueError(
                f"{type(self).__name__}.call must take move=None and give it the input vectors, which the penalty "
                "moves; pass it on to super().call, or drop the penalty."
            )
        return logits

    def _row_weights(self, sample_weight: Any) -> tf.Tensor | None:
        """The weight of each row, `(batch,)`: the mean over its tasks."""
        found = [w for w in weights_by_task(self.labelled, sample_weight).values() if w is not None]
        return tf.add_n([tf.cast(w, self.logit_dtype) for w in found]) / len(found) if found else None


def takes_move(model: type[PenalisedModel]) -> bool:
    """Whether the `call` of a model takes `move`, or any keyword."""
    parameters = inspect.signature(model.call).parameters.values()
    return any(p.name == "move" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _times(gradient: Any, factor: tf.Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def _over_replicas(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients))
