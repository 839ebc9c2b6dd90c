"""The base of the clippings of eq. (5)."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import tensorflow as tf

from tfstable.optimizers.domains import check_choice


@dataclasses.dataclass(frozen=True)
class Clipping:
    """A factor mu*sigma of eq. (5) of Tang et al. 2023: w -= eta * (mu*sigma) * r.

    Subclasses are frozen dataclasses. A call returns the factor.

    Args:
        scope: See the subclass.
        accumulate: What enters the state of the rule, such as Adagrad's sum of squares. "raw": the gradient, as in the
            paper; a spike then starves its coordinates for as long as the state remembers it. "clipped": the gradient
            times the factor, that is, what the step was allowed to see. The step itself is the same under both.
    """

    scope: str = dataclasses.field(default="tensor", kw_only=True)
    accumulate: str = dataclasses.field(default="raw", kw_only=True)

    scopes: ClassVar[tuple[str, ...]] = ("tensor", "row")

    def __post_init__(self) -> None:
        check_choice("scope", self.scope, self.scopes)
        check_choice("accumulate", self.accumulate, ("raw", "clipped"))

    def __call__(
        self, update: tf.Tensor, gradient: tf.Tensor, weight: tf.Tensor, rate: tf.Tensor, is_table: bool
    ) -> tf.Tensor:
        """Returns the factor, of a shape that broadcasts against `update`.

        Args:
            update: r, the direction before the learning rate. A tensor, or the touched rows of a table, (n, ...).
            gradient: g, same shape.
            weight: w before the step, same shape.
            rate: eta, a scalar.
            is_table: True if the first axis counts rows of an embedding table; with `scope="row"` each then has its
                own factor.
        """
        raise NotImplementedError

    def axes(self, tensor: tf.Tensor, is_table: bool) -> list[int]:
        """The axes over which one factor is shared: all, or all but the first for the rows of a table."""
        return list(range(1 if is_table and self.scope == "row" else 0, tensor.shape.rank))

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**config)


def squared_norm(tensor: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Squared Euclidean norm over `axes`, which are kept with length 1.

    Ratios of norms are written as roots of ratios: graphs turn x / sqrt(y) into x * rsqrt(y) and then reorder products,
    after which eager execution and graphs differ in the last bit.
    """
    return tf.reduce_sum(tf.square(tensor), axes, keepdims=True)
