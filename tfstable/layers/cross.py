"""DCN-v2: explicit feature crosses."""

from typing import Any

import keras
import keras_rs
import tensorflow as tf

from tfstable.layers.cross_mixture import CrossMixture
from tfstable.layers.shapes import Shape, check_one_input


@keras.saving.register_keras_serializable(package="tfstable")
class CrossTower(keras.layers.Layer):
    """A stack of DCN-v2 cross layers. Each multiplies a transformation of its input by the input of the stack.

        x_{l+1} = x_0 * (W_l x_l + b_l) + x_l      (* element-wise)

    W is a full matrix, or has low rank, W = U V^T. In the paper, a rank of a quarter of the width keeps the accuracy of
    the full matrix. With several experts, W is a mixture of low-rank maps with gates that read the input (see
    `CrossMixture`).

    Args:
        depth: Number of cross layers. At least 1.
        rank: Rank of W, at least 1; None for a full matrix.
        experts: Low-rank experts per layer. At least 1; more than 1 needs a `rank`.

    Shapes:
        `(batch, width)` in, same shape out.

    Raises:
        ValueError: If an argument is outside its domain, or the input is not `(batch, width)`.

    Reference:
        Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
        Systems", 2020. The full and low-rank layers are `keras_rs.layers.FeatureCross`.

    Examples:
        >>> from tfstable.layers import CrossTower
        >>> tower = CrossTower(depth=2, rank=4)
        >>> tower(keras.ops.ones((3, 16))).shape
        TensorShape([3, 16])
    """

    def __init__(self, depth: int = 1, rank: int | None = None, experts: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        if depth < 1 or (rank is not None and rank < 1) or experts < 1:
            raise ValueError(f"depth, rank and experts must be at least 1, got {depth=}, {rank=}, {experts=}")
        if experts > 1 and rank is None:
            raise ValueError(f"experts are of low rank: experts={experts} needs a rank, got None")
        self.depth, self.rank, self.experts = depth, rank, experts
        self.layers = [self._layer(f"cross_{i}") for i in range(depth)]

    def build(self, input_shape: Shape) -> None:
        check_one_input(self, input_shape, rank=2)
        for layer in self.layers:
            layer.build(input_shape)
            if self.experts > 1:
                continue
            # FeatureCross leaves its Dense layers unbuilt; a model that is loaded needs their variables at once.
            if self.rank is not None:
                layer.down_proj_dense.build(input_shape)
            layer.dense.build((*input_shape[:-1], self.rank or input_shape[-1]))
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x0 = x
        for layer in self.layers:
            x = layer(x0, x)
        return x

    def _layer(self, name: str) -> keras.layers.Layer:
        if self.experts > 1 and self.rank is not None:
            return CrossMixture(self.experts, self.rank, dtype=self.dtype_policy, name=name)
        return keras_rs.layers.FeatureCross(projection_dim=self.rank, dtype=self.dtype_policy, name=name)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth": self.depth, "rank": self.rank, "experts": self.experts}
