from collections.abc import Iterator, Sequence
from typing import Any, Literal, Unpack

import keras
import tensorflow as tf

from tfstable.optimizers.domains import check_choice, check_number
from tfstable.optimizers.guarded import LearningRate
from tfstable.optimizers.rows import read_rows, write_rows
from tfstable.optimizers.rule import ClippedArguments, RuleArguments, RuleOptimizer, State
from tfstable.optimizers.slots import Slot, row_shape
from tfstable.optimizers.tables import is_embedding_table

CHUNK = 2**20  # Elements of a table that forget at a time: bounds the memory for any table.


class AdagradArguments(RuleArguments, total=False):
    """The keyword arguments of `Adagrad` without `clipping`, for the preset with its own clipping."""

    initial_accumulator: float
    epsilon: float
    forget: float
    accumulator: Literal["element", "row"]


@keras.saving.register_keras_serializable(package="tfstable")
class Adagrad(RuleOptimizer):
    """Adagrad: each weight's step shrinks with the squares of all its gradients.

        G_t = G_{t-1} + g_t^2,  G_0 = initial_accumulator
        r_t = g_t / sqrt(G_t + epsilon)

    Hence |r| <= 1, and no weight ever moves by more than the learning rate in one step. G only grows, so the steps of a
    model that lives for long become small for good. With `forget`, G loses a share whenever a window of days ends:

        G <- max(forget G, G_0)    in `end_window`

    With `accumulator="row"`, for embedding tables alone, a row of d weights has one G, of which memory needs 1/d:

        G_t = G_{t-1} + mean(g_t^2)    over the row, so that |r| <= sqrt(d)

    A table with the attribute `columns_apart`, whose columns are weights of their own, keeps a G per weight. In the
    wide part of a `RankingModel` a column is a task: a common G would let frequent tasks shrink the steps of rare ones.

    Args:
        learning_rate, **rule: See `RuleOptimizer`.
        initial_accumulator: G_0, at least 0. For embedding tables take 1 / (examples per batch)^2, as the gradients of
            one id are small in means over a batch.
        epsilon: At least 0. None is needed: r is 0 where the root is.
        forget: Share of G that `end_window` keeps, above 0 and at most 1. 1: it forgets nothing.
        accumulator: "element": a G per weight. "row": a G per row of a table; other variables are refused.

    Raises:
        ValueError: If an argument is outside its domain; when built, for a dense variable under `accumulator="row"`.

    Reference:
        Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", 2011.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        initial_accumulator: float = 0.1,
        epsilon: float = 0.0,
        forget: float = 1.0,
        accumulator: Literal["element", "row"] = "element",
        **rule: Unpack[ClippedArguments],
    ) -> None:
        check_number("initial_accumulator", initial_accumulator, least=0)
        check_number("epsilon", epsilon, least=0)
        check_number("forget", forget, above=0, most=1)
        check_choice("accumulator", accumulator, ("element", "row"))
        super().__init__(learning_rate, **rule)
        self.initial_accumulator = initial_accumulator
        self.epsilon = epsilon
        self.forget = forget
        self._by_row = accumulator == "row"

    def build(self, variables: Sequence[Any]) -> None:
        if self._by_row and (others := [v for v in variables if not is_embedding_table(v)]):
            raise ValueError(
                f"accumulator must be 'element' for {getattr(others[0], 'path', others[0].name)!r}, which is no "
                "embedding table; got 'row'. Give dense variables an optimizer of their own with Composite."
            )
        super().build(variables)

    def slots(self) -> dict[str, float]:
        # Names of their own: a state of one form is never taken for the other's.
        names = ("accumulator", "row_accumulator") if self._by_row else ("accumulator",)
        return dict.fromkeys(names, self.initial_accumulator)

    def slots_for(self, variable: Any) -> dict[str, Slot]:
        if self._by_row and not getattr(variable, "columns_apart", False):
            return {"row_accumulator": Slot(self.initial_accumulator, row_shape(variable))}
        return {"accumulator": Slot(self.initial_accumulator, tuple(variable.shape))}

    def squares(self, gradient: tf.Tensor, accumulator: tf.Tensor) -> tf.Tensor:
        """What a step adds to G."""
        square, sizes = tf.square(gradient), accumulator.shape[1:]
        if self._by_row and all(size == 1 for size in sizes):
            return tf.reduce_mean(square, list(range(1, 1 + len(sizes))), keepdims=True)
        return square

    def direction(self, gradient: tf.Tensor, state: State, step: tf.Tensor) -> tuple[tf.Tensor, State]:
        (accumulator,) = state
        accumulator += self.squares(gradient, accumulator)
        return adagrad_direction(gradient, accumulator + self.epsilon), (accumulator,)

    def end_window(self) -> None:
        if self.forget == 1:
            return
        for variable, slots in zip(self._trainable_variables, self._slots, strict=True):
            accumulator = slots[next(iter(self.slots_for(variable)))].value
            for rows in _chunks(accumulator) if is_embedding_table(variable) else [None]:
                kept = self.forget * read_rows(accumulator, rows)
                write_rows(accumulator, rows, tf.maximum(kept, self.initial_accumulator))

    def accumulator(self, variable: Any) -> Any:
        """G of a variable that this optimizer was built for: of its shape, or `(rows, 1)` for one number per row."""
        return self._slots[self._get_variable_index(variable)][next(iter(self.slots_for(variable)))].value

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "initial_accumulator": self.initial_accumulator,
            "epsilon": self.epsilon,
            "forget": self.forget,
            "accumulator": "row" if self._by_row else "element",
        }


def _chunks(table: Any) -> Iterator[tf.Tensor]:
    """Yields the indices of all rows, in order, some at a time."""
    height, size = table.shape[0], max(1, CHUNK * table.shape[0] // max(1, table.shape.num_elements()))
    for start in range(0, height, size):
        yield tf.range(start, min(start + size, height), dtype=tf.int64)


def adagrad_direction(gradient: tf.Tensor, square: tf.Tensor) -> tf.Tensor:
    """gradient / sqrt(square), and 0 where `square` is 0.

    `tf.math.divide_no_nan` rather than `/` or `rsqrt` also because graphs turn x / sqrt(y) into x * rsqrt(y) and then
    reorder the product with the learning rate, after which eager execution and graphs differ in the last bit.
    """
    return tf.math.divide_no_nan(gradient, tf.sqrt(square))
