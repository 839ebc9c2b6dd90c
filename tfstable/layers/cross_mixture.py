"""DCN-v2's mixture of low-rank cross experts."""

from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_equal, check_one_input


@keras.saving.register_keras_serializable(package="tfstable")
class CrossMixture(keras.layers.Layer):
    """One cross layer whose matrix is a mixture of low-rank experts, chosen by the input.

        y = x_0 * (sum_k p_k U_k tanh(C_k tanh(V_k^T x)) + b) + x,   p = softmax(G x)      (* element-wise)

    The gates sum to one. So the bias b can stand outside the sum, and the gates can be applied before U_k: all experts
    then cost two matrix products and a batch of small ones.

    Args:
        experts: Number of experts, k = 1 .. experts. At least 1.
        rank: Width of each expert's inner space. At least 1.

    Call arguments:
        x0: The input of the tower.
        x: The output of the previous layer.

    Shapes:
        `(batch, width)` twice in, same shape out. Variables: V `(width, experts, rank)`, C `(experts, rank, rank)`,
        U `(experts, rank, width)`, gate `(width, experts)`, bias `(width,)`.

    Raises:
        ValueError: If `experts` or `rank` is below 1, or the inputs differ in shape or are not `(batch, width)`.

    Reference:
        Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank
        Systems", 2020, equations (3) and (4).
    """

    def __init__(self, experts: int, rank: int, **kwargs: Any):
        super().__init__(**kwargs)
        if experts < 1 or rank < 1:
            raise ValueError(f"experts and rank must be at least 1, got experts={experts}, rank={rank}")
        self.experts, self.rank = experts, rank

    def build(self, x0_shape: Shape, x_shape: Shape | None = None) -> None:
        width, K, r = check_one_input(self, x0_shape, rank=2), self.experts, self.rank
        # Each expert's matrices start as a Dense layer's would; the initializers cannot tell experts from fan-in.
        self.V = self._matrices("V", (width, K, r), width, r)
        self.C = self._matrices("C", (K, r, r), r, r)
        self.U = self._matrices("U", (K, r, width), r, width)
        self.gate = self._matrices("gate", (width, K), width, K)
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")
        self.built = True

    def call(self, x0: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        check_equal(self, "x", x.shape, x0.shape)
        h = tf.tanh(tf.einsum("bw,wkr->bkr", x, self.V))  # (batch, experts, rank)
        h = tf.tanh(tf.einsum("bkr,krs->bks", h, self.C))
        p = tf.nn.softmax(tf.matmul(x, self.gate), axis=-1)  # (batch, experts)
        return x0 * (tf.einsum("bkr,krw->bw", h * p[:, :, None], self.U) + self.bias) + x

    def _matrices(self, name: str, shape: Shape, fan_in: int, fan_out: int) -> keras.Variable:
        limit = (6 / (fan_in + fan_out)) ** 0.5  # Glorot's.
        return self.add_weight(shape=shape, initializer=keras.initializers.RandomUniform(-limit, limit), name=name)

    def compute_output_shape(self, x0_shape: Shape, x_shape: Shape | None = None) -> Shape:
        return x0_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "experts": self.experts, "rank": self.rank}
