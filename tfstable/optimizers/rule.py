"""Eq. (5) applied to variables: dense tensors and the touched rows of tables alike."""

import functools
from collections.abc import Sequence
from typing import Any, Self, TypeAlias, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.clipping import Clipping
from tfstable.optimizers.domains import check_number
from tfstable.optimizers.guarded import Gradient, GuardedArguments, GuardedOptimizer, LearningRate, Pairs, done
from tfstable.optimizers.norm_clipping import NormClipping, gradient_factors, make_state
from tfstable.optimizers.rows import is_row, read_rows, under_xla, working_dtype, write_rows
from tfstable.optimizers.slots import Slot, figures, make_slots, renew, touched
from tfstable.optimizers.tables import is_embedding_table

State: TypeAlias = tuple[tf.Tensor, ...]  # The slots of a weight, in the order of `slots`.


class RuleArguments(GuardedArguments, total=False):
    """The keyword arguments of `RuleOptimizer` without `clipping`, for subclasses with their own clipping."""

    weight_decay: float | None
    track_every: int


class ClippedArguments(RuleArguments, total=False):
    """The keyword arguments of `RuleOptimizer`, for the signatures of its subclasses."""

    clipping: Clipping | None


class RuleOptimizer(GuardedOptimizer):
    """Eq. (5) of Tang et al. 2023, for any direction r and any clipping:

        r_t, s_t = direction(g_t, s_{t-1}, t)
        f_t      = clipping(r_t, g_t, w_t, eta_t), 1 without a clipping
        w_{t+1}  = w_t - eta_t * decay * w_t - eta_t * f_t * r_t

    With `accumulate="clipped"` of the clipping, the state is that of the clipped gradient: s_t of direction(f_t g_t).

    A bfloat16 variable is updated in float32, with float32 slots, and the new weight is rounded to the nearest. A step
    below 2^-9 of a weight then changes nothing, so use float32 variables for a model that must keep learning.

    A subclass gives `slots` and `direction`; the rest is common. A sparse gradient updates its rows only: for them, g,
    w and s are the unique rows of the batch. The state of a row advances only in steps that touch it. If a variable
    has the attribute `relative_rate`, eta is multiplied by it.

    Args:
        learning_rate: eta, at least 0 if it is a number. See `GuardedOptimizer`.
        clipping: None, or a clipping of this package, such as `Clippy`, `GradientNorm` or `ZClip`.
        weight_decay: None, or the decoupled decay, at least 0, of dense variables (Loshchilov, Hutter, "Decoupled
            Weight Decay Regularization", 2019). Refused for embedding tables, where it would touch every row in every
            step.
        track_every: Refresh `diagnostics` every N steps; 0 = never.
        on_nonfinite, name: See `GuardedOptimizer`.

    Raises:
        ValueError: If an argument is outside its domain.
    """

    # Whether `direction` uses the step t. Tables then keep one t per row, since a row's state advances by touches.
    uses_step = False
    # Whether embedding tables may have this rule.
    for_tables = True

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        clipping: Clipping | None = None,
        weight_decay: float | None = None,
        track_every: int = 0,
        **guarded: Unpack[GuardedArguments],
    ) -> None:
        if not callable(learning_rate):
            check_number("learning_rate", learning_rate, least=0)
            learning_rate = float(learning_rate)
        if not isinstance(clipping, Clipping | None):
            raise ValueError(f"clipping must be None or a clipping of tfstable.optimizers; got {clipping!r}.")
        if weight_decay is not None:
            check_number("weight_decay", weight_decay, least=0)
        check_number("track_every", track_every, least=0, whole=True)
        super().__init__(learning_rate, **guarded)
        self.clipping = clipping
        self.weight_decay = weight_decay
        self.track_every = track_every
        # A trainer lowers this factor after a divergence or inside a window, for any kind of learning rate.
        self.rate_factor = self.add_variable(
            shape=(), dtype="float32", initializer="ones", aggregation="only_first_replica", name="rate_factor"
        )

    def slots(self) -> dict[str, float]:
        """Name and initial value of each slot; a slot has the shape of its weight, and its `working_dtype`."""
        return {}

    def slots_for(self, variable: Any) -> dict[str, Slot]:
        """The slots of one weight, for a rule whose slots have other shapes, or differ between weights."""
        return {name: Slot(initial, tuple(variable.shape)) for name, initial in self.slots().items()}

    def direction(self, gradient: tf.Tensor, state: State, step: tf.Tensor) -> tuple[tf.Tensor, State]:
        """The pure rule: r and the new state from g, the state, and t (counted from 1)."""
        raise NotImplementedError

    def end_window(self) -> None:
        """Ends a window of days: `Adagrad` forgets. See `Composite.end_window`."""

    def rule(
        self,
        gradient: tf.Tensor,
        weight: tf.Tensor,
        state: State,
        rate: tf.Tensor,
        step: tf.Tensor,
        is_table: bool,
        padding: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, State]:
        """r, f and the new state: a pure function of tensors. Under XLA, `padding` marks rows outside the table."""
        update, raw = self.direction(gradient, state, step)
        if padding is not None:
            update = tf.where(padding, tf.zeros_like(update), update)
        if self.clipping is None or isinstance(self.clipping, NormClipping):  # which has scaled the gradient
            return update, tf.ones([], weight.dtype), raw
        factor = tf.convert_to_tensor(self.clipping(update, gradient, weight, rate, is_table), weight.dtype)
        if self.clipping.accumulate == "raw":
            return update, factor, raw
        return update, factor, self.direction(factor * gradient, state, step)[1]

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        for variable in filter(is_embedding_table, variables):
            self._check_table(variable)
        self._slots = [make_slots(self.add_variable, v, self.slots_for(v), self.uses_step) for v in variables]
        if isinstance(self.clipping, NormClipping):  # Last: a run may drop it, and still find all other variables.
            self._norms = make_state(self.add_variable, self.clipping, variables)

    def _check_table(self, variable: Any) -> None:
        path = getattr(variable, "path", variable.name)
        if not self.for_tables:
            raise ValueError(
                f"{type(self).__name__} is for dense variables, and {path!r} is an embedding table: give tables an "
                "optimizer of their own, such as Adagrad, with Composite."
            )
        if self.weight_decay:
            raise ValueError(
                f"weight_decay must be None for the embedding table {path!r}, since it would touch every row in every "
                f"step (give tables a separate optimizer with Composite); got {self.weight_decay!r}."
            )
        if getattr(variable, "constraint", None) is not None:
            raise ValueError(
                f"constraint must be None for the embedding table {path!r}, since it would touch every row each step; "
                f"got {variable.constraint!r}."
            )

    def update_variables(self, strategy: Any, pairs: Pairs) -> None:
        rate, step = self.learning_rate * self.rate_factor, self.iterations + 1
        scales: list[tf.Tensor | None] = [None] * len(pairs)
        if isinstance(self.clipping, NormClipping) and pairs:
            gradients, variables = zip(*pairs, strict=True)
            places = [self._get_variable_index(variable) for variable in variables]
            scales = gradient_factors(strategy, self.clipping, self._norms, places, variables, gradients)

        def update_all(track: bool) -> tf.Tensor:
            for (gradient, variable), scale in zip(pairs, scales, strict=True):
                slots = self._slots[self._get_variable_index(variable)]
                update = functools.partial(
                    self._update_variable,
                    of=variable,
                    names=tuple(slots),
                    rate=rate,
                    step=step,
                    scale=scale,
                    track=track,
                )
                target = variable.value if isinstance(variable, keras.Variable) else variable
                # Passed as arguments, mirrored slots arrive as the copy on the device that is being updated.
                arguments = (gradient, *(slot.value for slot in slots.values()))
                strategy.extended.update(target, update, args=arguments, group=False)
            return done()

        if self.track_every:
            due = step % self.track_every == 0
            tf.cond(due, lambda: update_all(track=True), lambda: update_all(track=False))
        else:
            update_all(track=False)

    def _update_variable(
        self,
        target: tf.Variable,
        gradient: Gradient,
        *slots: tf.Variable,
        of: Any,
        names: Sequence[str],
        rate: tf.Tensor,
        step: tf.Tensor,
        scale: tf.Tensor | None,
        track: bool,
    ) -> None:
        own = dict(zip(names, slots, strict=True))
        diagnostics = own.pop("diagnostics")
        is_sparse = isinstance(gradient, tf.IndexedSlices)
        if is_sparse:
            self._check_table(of)
        indices, gradient = (gradient.indices, gradient.values) if is_sparse else (None, gradient)
        is_table = is_sparse or is_embedding_table(of)

        weight = tf.cast(read_rows(target, indices), working_dtype(of))
        state = {name: read_rows(slot, indices) for name, slot in own.items()}
        rate, step = tf.cast(rate, weight.dtype), tf.cast(step, weight.dtype)
        if (relative := getattr(of, "relative_rate", 1.0)) != 1:
            rate *= relative
        if "step" in state:
            step = state["step"] = state["step"] + 1
        if is_sparse and under_xla():
            padding = ~is_row(indices, target.shape[0], weight.shape.rank)
            weight = tf.where(padding, tf.zeros_like(weight), weight)
        else:
            padding = None

        names = [name for name in state if name != "step"]
        own_state = tuple(state[name] for name in names)
        seen = gradient if scale is None else tf.cast(scale, weight.dtype) * gradient
        update, factor, new_state = self.rule(seen, weight, own_state, rate, step, is_table, padding)
        if scale is not None and self.clipping is not None and self.clipping.accumulate == "raw":
            new_state = self.direction(gradient, own_state, step)[1]
        state.update(zip(names, new_state, strict=True))
        change = (rate * factor) * update
        new_weight = weight - change
        if self.weight_decay and self._use_weight_decay(of):
            new_weight -= (rate * self.weight_decay) * weight
        if getattr(of, "constraint", None) is not None:
            new_weight = of.constraint(new_weight)

        for name, slot in own.items():
            write_rows(slot, indices, state[name])
        write_rows(target, indices, tf.cast(new_weight, of.dtype))
        if track:
            norms = [tf.norm(x) for x in (change, gradient, weight)]
            factor = factor if scale is None else tf.cast(scale, weight.dtype)
            least = tf.reduce_min(factor if padding is None else tf.where(padding, factor.dtype.max, factor))
            diagnostics.assign(tf.cast(tf.stack([least, *norms]), tf.float32))

    def renew_rows(self, strategy: Any, table: Any, rows: tf.Tensor) -> None:
        """Starts the state of rows of an embedding table anew; in cross-replica context.

        Args:
            strategy: The strategy of the variables.
            table: The table, one of the variables that this was built for.
            rows: `(rows,)` integers.
        """
        renew(strategy, self._slots[self._get_variable_index(table)], self.slots_for(table), rows)

    def diagnostics(self) -> dict[str, dict[str, float]]:
        """Figures of the last step divisible by `track_every`, per variable path; NaN before the first such step.

        Returns:
            `{path: {"clipping_factor", "update_norm", "gradient_norm", "weight_norm"}}`, as floats: the (least) factor
            f, and the norms of eta * f * r, of g and of w before the step. For a sparse gradient they are taken over
            the touched rows. Empty with `track_every=0`.
        """
        if not self.track_every:
            return {}
        own = zip(self._trainable_variables, self._slots, strict=True)
        return {getattr(v, "path", v.name): figures(slots) for v, slots in own}

    def touched_rows(self, variable: Any) -> tf.Tensor | None:
        """Returns which rows of a table have been trained: those with a slot that is not at its start, `(rows,)` bool.

        Args:
            variable: One that this optimizer was built for.

        Returns:
            None for a rule without slots, which keeps no trace.
        """
        return touched(self._slots[self._get_variable_index(variable)], self.slots_for(variable))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "clipping": keras.saving.serialize_keras_object(self.clipping),
            "weight_decay": self.weight_decay,
            "track_every": self.track_every,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        config = dict(config)  # Keras's own from_config writes into it
        if "clipping" in config:
            clipping = keras.saving.deserialize_keras_object(config["clipping"], custom_objects=custom_objects)
            config["clipping"] = clipping
        return super().from_config(config, custom_objects=custom_objects)
