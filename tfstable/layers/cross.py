"""DCN-v2: explicit feature crosses."""

import keras
import keras_rs


@keras.saving.register_keras_serializable(package="tfstable")
class CrossTower(keras.layers.Layer):
    """A stack of DCN-v2 cross layers, each multiplying its transformed input with the first one.

        x_{l+1} = x_0 * (W_l x_l + b_l) + x_l      (* element-wise; W = U V^T where `rank` is given)

    Args:
        depth: Number of cross layers. At least 1.
        rank: Rank of W; None for a full matrix.

    Shapes:
        `(batch, width)` in, same shape out.

    Raises:
        ValueError: If `depth` or `rank` is below 1.

    Reference:
        Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
        Systems", 2020. The layers are `keras_rs.layers.FeatureCross`.
    """

    def __init__(self, depth: int = 1, rank: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if depth < 1 or (rank is not None and rank < 1):
            raise ValueError(f"depth and rank must be at least 1, got depth={depth}, rank={rank}")
        self.depth, self.rank = depth, rank
        self.layers = [
            keras_rs.layers.FeatureCross(projection_dim=rank, dtype=self.dtype_policy, name=f"cross_{i}")
            for i in range(depth)
        ]

    def build(self, input_shape):
        for layer in self.layers:
            layer.build(input_shape)
            # FeatureCross leaves its Dense layers unbuilt; a model that is loaded needs their variables at once.
            if self.rank is not None:
                layer.down_proj_dense.build(input_shape)
            layer.dense.build((*input_shape[:-1], self.rank or input_shape[-1]))
        self.built = True

    def call(self, x):
        x0 = x
        for layer in self.layers:
            x = layer(x0, x)
        return x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "depth": self.depth, "rank": self.rank}
