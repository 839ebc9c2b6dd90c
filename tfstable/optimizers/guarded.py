"""The Keras shell: all-reduce the gradients, ask once whether they are finite, and only then update."""

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_choice
from tfstable.optimizers.rows import sum_duplicates, under_xla, working_dtype

LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule | Callable[[], Any]
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices
Pairs: TypeAlias = Sequence[tuple[Gradient, Any]]  # A gradient and its variable, of Keras or TensorFlow.


class GuardedArguments(TypedDict, total=False):
    """The keyword arguments of `GuardedOptimizer`, for the signatures of its subclasses."""

    on_nonfinite: Literal["skip", "raise"]
    name: str | None


class GuardedOptimizer(keras.optimizers.Optimizer):
    """An optimizer whose whole step happens on every replica, or on none.

    `apply` runs in replica context: by itself, or inside `strategy.run`. It sums the gradients over the replicas, sums
    duplicate rows of sparse ones, and makes one flag from all of them:

        finite = every gradient tensor has  ||g||_2^2 / 2 <= M / 2^20,  M the largest number of its dtype

    The flag is false for NaN and infinity, and for finite numbers whose square an accumulator cannot hold (in float32
    from about 2e16): it would become infinite and freeze its weight forever. If the flag is false, weights, slots and
    `iterations` stay unchanged, without decay, and `skipped_steps` rises by one. So a run with a bad batch ends like a
    run without that batch.

    Gradients of bfloat16 variables are summed and squared in float32. float16 variables are refused: squares of their
    gradients leave float16's range above 256 and below 2e-4.

    Args:
        learning_rate: eta. A float, a `keras.optimizers.schedules.LearningRateSchedule`, or a callable.
        on_nonfinite: "skip" leaves out a step with a non-finite gradient. "raise" also raises
            `tf.errors.InvalidArgumentError` naming the variable; XLA drops assertions, there it only skips.
        name: Name of the optimizer. Default: the name of the class, such as "clippy_adagrad".

    Raises:
        ValueError: If `on_nonfinite` is neither; when built, for a variable that is not float32, float64 or bfloat16.

    Subclasses implement `update_variables`. Keras's averages of weights, accumulation of gradients and clipping of
    gradients are not offered: they read and write whole embedding tables every step.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        on_nonfinite: Literal["skip", "raise"] = "skip",
        name: str | None = None,
    ) -> None:
        check_choice("on_nonfinite", on_nonfinite, ("skip", "raise"))
        # Not Keras's default, which numbers the optimizers of the process: a resumed run must find the same names.
        name = name or re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", type(self).__name__).lower()
        super().__init__(learning_rate=learning_rate, name=name)
        if not isinstance(learning_rate, float):
            # In the place of the variable that Keras makes of a number: checkpoints name an optimizer's variables by
            # their places, and a run may change from a constant rate to a schedule and back.
            self.add_variable(shape=(), dtype="float32", aggregation="only_first_replica", name="learning_rate")
        self.on_nonfinite = on_nonfinite
        self.skipped_steps = self.add_variable(
            shape=(), dtype="int64", aggregation="only_first_replica", name="skipped_steps"
        )

    def build(self, variables: Sequence[Any]) -> None:
        for variable in variables:
            if (dtype := tf.as_dtype(variable.dtype)) not in (tf.float32, tf.float64, tf.bfloat16):
                path = getattr(variable, "path", variable.name)
                raise ValueError(
                    f"variable {path!r} must be float32, float64 or bfloat16 (the policy mixed_float16 keeps variables "
                    f"in float32); got {dtype.name}."
                )
        super().build(variables)

    def update_variables(self, strategy: Any, pairs: Pairs) -> None:
        """Updates (gradient, variable) pairs, in cross-replica context where the strategy has one."""
        raise NotImplementedError

    def apply(self, grads: Sequence[Gradient | None], trainable_variables: Sequence[Any] | None = None) -> None:
        if tf.distribute.in_cross_replica_context():
            raise ValueError("apply must be called in replica context: inside `strategy.run`.")
        if not self.built:
            if trainable_variables is None:
                raise ValueError("apply without variables needs a built optimizer: call `build(variables)` first.")
            self.build(list(trainable_variables))
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        self._check_known(variables)
        if len(grads) != len(variables):
            raise ValueError(f"apply needs one gradient per variable; got {len(grads)} for {len(variables)} variables.")
        with tf.name_scope(self.name):
            self._apply(*_drop_missing(grads, variables))

    def _check_known(self, variables: Sequence[Any]) -> None:
        for variable in variables:
            try:
                self._get_variable_index(variable)
            except KeyError:
                path = getattr(variable, "path", variable.name)
                raise ValueError(f"{path!r} is not among the variables this optimizer was built for.") from None

    def _apply(self, gradients: Sequence[Gradient], variables: Sequence[Any]) -> None:
        gradients = [tf.cast(g, working_dtype(v)) for g, v in zip(gradients, variables, strict=True)]
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients = [
            sum_duplicates(g, v.shape[0]) if isinstance(g, tf.IndexedSlices) else g
            for g, v in zip(gradients, variables, strict=True)
        ]
        finite_each = tf.stack([_is_finite(g) for g in gradients])
        finite = tf.reduce_all(finite_each)

        def update(strategy: Any, finite: tf.Tensor, *gradients: Gradient) -> None:
            # Every replica has computed the same flag from the same sums; one of them decides for all.
            decision = strategy.experimental_local_results(finite)[0]
            pairs = list(zip(gradients, variables, strict=True))

            def update_all() -> tf.Tensor:
                self.update_variables(strategy, pairs)
                return done()

            tf.cond(decision, update_all, done)

        merge_call = tf.__internal__.distribute.interim.maybe_merge_call
        merge_call(update, tf.distribute.get_strategy(), finite, *gradients)
        self.count(tf.cast(finite, "int64"))
        if self.on_nonfinite == "raise" and not under_xla():  # which has neither assertions nor strings
            paths = tf.constant([getattr(v, "path", v.name) for v in variables])
            with tf.control_dependencies([tf.identity(self.skipped_steps.value)]):  # counted before it raises
                tf.debugging.Assert(finite, ["non-finite gradient of", tf.boolean_mask(paths, ~finite_each)])

    def count(self, applied: tf.Tensor) -> None:
        """Counts a step: `applied` is 1 if it was applied, 0 if it was skipped."""
        self.iterations.assign_add(applied)
        self.skipped_steps.assign_add(1 - applied)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {"learning_rate": config["learning_rate"], "on_nonfinite": self.on_nonfinite, "name": config["name"]}


def done() -> tf.Tensor:
    """The return value of both branches of a `tf.cond` that work by side effects."""
    return tf.constant(True)


def _is_finite(gradient: Gradient) -> tf.Tensor:
    values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    # One fused pass without a temporary; `tf.math.is_finite` would write a tensor of booleans first.
    return tf.nn.l2_loss(values) <= values.dtype.max * 2.0**-20


def _drop_missing(gradients: Sequence[Gradient | None], variables: Sequence[Any]) -> tuple[list[Gradient], list[Any]]:
    """Leaves out variables without a gradient, with a warning that names them."""
    missing = [getattr(v, "path", v.name) for g, v in zip(gradients, variables, strict=True) if g is None]
    if len(missing) == len(gradients):
        raise ValueError(f"no gradient for any variable: {missing}.")
    if missing:
        warnings.warn(f"No gradient for {missing}: the loss does not depend on them.", stacklevel=4)
    pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    return [g for g, _ in pairs], [v for _, v in pairs]
