"""Averages of the weights over training. The last batches move them less, and tables need no dense work.

    optimizer = Composite([Group("embeddings", Adagrad(0.1)), Group("dense", ClippyAdagrad(0.3))], averaging=Ema(2000))
    ...
    with optimizer.averaged_weights():
        model.predict(...)  # or export it

An average covers the variables that the optimizer was built for. It leaves other state of a model, such as the moments
of a batch normalisation, as it is.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_number
from tfstable.optimizers.rows import read_rows, working_dtype, write_row_values, write_rows
from tfstable.optimizers.tables import is_embedding_table


class WeightAverage:
    """Base of the averages: it keeps state per variable of an optimizer, and swaps averages and weights.

    The state consists of variables of the optimizer, so checkpoints hold it, and replicas mirror it like slots.
    """

    def build(self, optimizer: Any, variables: Sequence[Any]) -> None:
        """Makes the state. Called by the optimizer, once."""
        self.variables, self._is_swapped_in = list(variables), False
        self._applied = optimizer.iterations
        self._state = {}
        for variable in self.variables:
            with tf.distribute.get_strategy().extended.colocate_vars_with(_handle(variable)):
                self._state[id(variable)] = self._make_state(optimizer, variable)

    def _make_state(self, optimizer: Any, variable: Any) -> dict[str, Any]:
        average = optimizer.add_variable(variable.shape, "zeros", working_dtype(variable), name=_name(variable, ""))
        return {"average": average}

    def update(self, strategy: Any, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Called in each step that is applied, with its (gradient, variable) pairs, before the variables move."""

    def snapshot(self) -> None:
        """Called when training pauses on good weights, such as at the end of a window of days."""

    def renew_rows(self, strategy: Any, table: Any, rows: tf.Tensor, values: tf.Tensor) -> None:
        """Starts the averages of rows of an embedding table at `values`; see `Composite.renew_rows`."""
        strategy.extended.update(self._state[id(table)]["average"].value, write_row_values, args=(rows, values))

    def average(self, variable: Any) -> Any:
        """Returns the variable that holds the average of one of the variables, as of its last update."""
        return self._state[id(variable)]["average"]

    def averaged_values(self) -> list[tf.Tensor]:
        """Returns the average of each variable, in the order of `variables`: tensors. Nothing changes by being read."""
        return [self._averaged(variable) for variable in self.variables]

    def _averaged(self, variable: Any) -> tf.Tensor:
        raise NotImplementedError

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Puts the averages into the variables for the code inside. The weights come back bit for bit.

        Make no step inside. Nested uses do nothing.

        It costs a copy of each variable while it lasts, and a pass over all variables on entry and on exit.
        """
        if self._is_swapped_in:
            yield
            return
        weights = [tf.identity(_handle(variable)) for variable in self.variables]
        self._is_swapped_in = True
        try:
            for variable in self.variables:
                variable.assign(tf.cast(self._averaged(variable), variable.dtype))
            yield
        finally:
            for variable, weight in zip(self.variables, weights, strict=True):
                variable.assign(weight)
            self._is_swapped_in = False


@keras.saving.register_keras_serializable(package="tfstable")
class Ema(WeightAverage):
    """Exponential moving average over the steps, without the initial weights:

        A_t = A_{t-1} + (w_t - A_{t-1}) / min(t, h)

    Up to step h, the horizon, this is the mean of w_1 to w_t; from there it is exponential. t counts applied steps: a
    step that was skipped because a gradient was not finite does not count.

    **Tables.** A row that no step touches keeps its weight v. Over the steps s+1 to t its average then only decays
    towards v, and the product of the decays has a closed form:

        A_t = v + (A_s - v) D(s, t),   D(s, t) = prod_{u=s+1}^{t} (1 - 1/min(u, h))
                                               = min(s, h) / min(t, h) * (1 - 1/h)^(max(t, h) - max(s, h))

    because the first factors, (u-1)/u, cancel each other. So a row needs no work until step t touches it. Just before
    its weight moves, A_{t-1} is computed from the weight v that it had since the last touch. It is kept with the number
    of steps that it covers, t-1. The average includes a weight when that weight changes; `averaged_values` adds the
    last one. The result equals the dense average to rounding. A step costs a gather and a scatter of the batch's rows.

    Args:
        horizon: h, in steps, a whole number of at least 2. The average covers about the last h steps.

    Raises:
        ValueError: If `horizon` is outside its domain.

    Reference:
        Polyak, Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.

    Examples:
        Plain descent moves w from 1 to 0 and to -1. The horizon is 4 steps, so the average is the mean of 0 and -1:

        >>> from tfstable.optimizers import SGD, Composite, Ema, Group
        >>> optimizer = Composite([Group("dense", SGD(1.0))], averaging=Ema(4))
        >>> w = keras.Variable([1.0], name="w")
        >>> for _ in range(2):
        ...     optimizer.apply([tf.constant([1.0])], [w])
        >>> with optimizer.averaged_weights():
        ...     w.numpy().tolist()
        [-0.5]
        >>> w.numpy().tolist()
        [-1.0]
    """

    def __init__(self, horizon: int) -> None:
        check_number("horizon", horizon, least=2, whole=True)
        self.horizon = horizon

    def build(self, optimizer: Any, variables: Sequence[Any]) -> None:
        super().build(optimizer, variables)
        self._covered = optimizer.add_variable((), "zeros", "int64", name="covered")  # By all that are no tables.

    def _make_state(self, optimizer: Any, variable: Any) -> dict[str, Any]:
        state = super()._make_state(optimizer, variable)
        if is_embedding_table(variable):
            # A count a row. int64: GPUs have no scatter for int32, and float32 stops counting at 2^24.
            state["covered"] = optimizer.add_variable(
                variable.shape[:1], "zeros", "int64", name=_name(variable, "_covered")
            )
        return state

    def update(self, strategy: Any, pairs: Sequence[tuple[Any, Any]]) -> None:
        through = tf.identity(self._applied.value)
        decay = self._decay(self._covered.value, through)

        def bring_up_to_date(weights: tf.Variable, average: tf.Variable) -> None:
            average.assign(_towards(read_rows(weights), read_rows(average), decay))

        def bring_rows_up_to_date(
            weights: tf.Variable, gradient: Any, average: tf.Variable, covered: tf.Variable
        ) -> None:
            indices = gradient.indices if isinstance(gradient, tf.IndexedSlices) else None
            v, A, s = (read_rows(variable, indices) for variable in (weights, average, covered))
            write_rows(average, indices, _towards(v, A, self._decay(s, through)))
            write_rows(covered, indices, tf.broadcast_to(through, tf.shape(s)))

        gradient_of = {id(variable): gradient for gradient, variable in pairs}
        for variable in self.variables:
            target, state = _handle(variable), [value.value for value in self._state[id(variable)].values()]
            if not is_embedding_table(variable):
                strategy.extended.update(target, bring_up_to_date, args=state, group=False)
            elif id(variable) in gradient_of:
                arguments = (gradient_of[id(variable)], *state)
                strategy.extended.update(target, bring_rows_up_to_date, args=arguments, group=False)
        self._covered.assign(through)

    def _averaged(self, variable: Any) -> tf.Tensor:
        state = self._state[id(variable)]
        decay = self._decay(state.get("covered", self._covered).value, self._applied.value)
        return _towards(read_rows(_handle(variable)), read_rows(state["average"].value), decay)

    def _decay(self, s: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        """D(s, t), float64, in the shape of s: a count, or one for each row."""
        s, t, h = (tf.cast(count, tf.float64) for count in (s, t, self.horizon))
        later = tf.maximum(t, h) - tf.maximum(s, h)
        return tf.minimum(s, h) / tf.maximum(tf.minimum(t, h), 1) * tf.exp(later * math.log1p(-1 / self.horizon))

    def get_config(self) -> dict[str, Any]:
        return {"horizon": self.horizon}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfstable")
class Swa(WeightAverage):
    """Mean of the weights at `snapshot`s, such as the ends of windows: over all, or exponential over the last h.

        A_n = A_{n-1} + (w_n - A_{n-1}) / min(n, h),   w_n the weights at snapshot n

    Until the first snapshot the average is the weights. A snapshot passes over whole tables; a step costs nothing. The
    snapshots of a row that started anew count from there.

    Args:
        horizon: h, in snapshots, a whole number of at least 1; None for the mean of all.

    Raises:
        ValueError: If `horizon` is outside its domain.

    Reference:
        Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, "Averaging Weights Leads to Wider Optima and Better
        Generalization", 2018.
    """

    def __init__(self, horizon: int | None = None) -> None:
        if horizon is not None:
            check_number("horizon", horizon, least=1, whole=True)
        self.horizon = horizon

    def build(self, optimizer: Any, variables: Sequence[Any]) -> None:
        super().build(optimizer, variables)
        self.snapshots = optimizer.add_variable((), "zeros", "int64", name="snapshots")

    def _make_state(self, optimizer: Any, variable: Any) -> dict[str, Any]:
        state = super()._make_state(optimizer, variable)
        if getattr(variable, "is_renewed", False):  # Snapshots before each row's start.
            state["before"] = optimizer.add_variable(
                variable.shape[:1], "zeros", "int64", name=_name(variable, "_before")
            )
        return state

    def renew_rows(self, strategy: Any, table: Any, rows: tf.Tensor, values: tf.Tensor) -> None:
        super().renew_rows(strategy, table, rows, values)
        so_far = tf.fill([len(rows)], self.snapshots.value)
        strategy.extended.update(self._state[id(table)]["before"].value, write_row_values, args=(rows, so_far))

    def snapshot(self) -> None:
        self.snapshots.assign_add(1)
        n = int(self.snapshots.numpy())
        for variable in self.variables:
            state = self._state[id(variable)]
            average, before = state["average"], state.get("before")
            A, w = read_rows(average.value), tf.cast(read_rows(_handle(variable)), average.dtype)
            of = n if before is None else (n - read_rows(before.value))[:, None]  # Of each row.
            average.assign(A + (w - A) / tf.cast(tf.minimum(of, self.horizon or n), w.dtype))

    def _averaged(self, variable: Any) -> tf.Tensor:
        average = self._state[id(variable)]["average"] if int(self.snapshots.numpy()) else variable
        return read_rows(_handle(average))

    def get_config(self) -> dict[str, Any]:
        return {"horizon": self.horizon}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


def _towards(v: tf.Tensor, A: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
    """v + (A - v) * decay, in A's dtype, where `decay` is a scalar or has an element for each row."""
    v = tf.cast(v, A.dtype)
    ones = [1] * (v.shape.rank - decay.shape.rank) if decay.shape.rank else []
    return v + (A - v) * tf.cast(tf.reshape(decay, [-1, *ones]) if ones else decay, v.dtype)


def _handle(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _name(variable: Any, suffix: str) -> str:
    return getattr(variable, "path", variable.name).replace("/", "_").replace(":", "_") + "_average" + suffix
