"""A history that a transformer reads with the candidate beside each position."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_pair
from tfstable.layers.transformer import ReZeroEncoder


@keras.saving.register_keras_serializable(package="tfstable")
class HistoryEncoder(keras.layers.Layer):
    """Encodes the pairs of each position and the candidate, and puts out the newest one and the greatest elements.

        x_i = [k_i; q],    x <- ReZeroEncoder(x)  `depth` times,    y = [x_newest; max_i x_i]

    i runs over the positions that are not padded. Queries and keys of the attention are layer-normalised.

    Args:
        depth: Encoder layers. At least 1.
        heads: Attention heads. At least 1. The width of key and query together must be a multiple of it.
        units: Inner width of the feed-forward parts. At least 1.
        activation: Activation of the feed-forward parts: a Keras activation by name, or a callable.
        dropout: Rate on attention weights and on the inner feed-forward layers, in [0, 1).

    Call arguments:
        query: The candidate.
        keys: The positions, the newest last.
        attention_mask: `(batch, length)` bool, False where padded. Default: nothing is padded.

    Shapes:
        `(batch, q)` and `(batch, length, k)` in, `(batch, 2 (k + q))` out, zeros where all is padded. Keys and mask of
        one row serve all queries.

    Raises:
        ValueError: If an argument is outside its domain, or an input has another shape.

    References:
        Xia et al., "TransAct: Transformer-based Realtime User Action Model for Recommendation at Pinterest", 2023.
        Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.
    """

    def __init__(
        self,
        depth: int,
        heads: int,
        units: int,
        activation: str | Callable[..., Any] = "relu",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.depth, self.heads, self.units, self.dropout = depth, heads, units, dropout
        self.activation = keras.activations.get(activation)
        self.layers = [
            ReZeroEncoder(
                heads, units, activation, dropout, query_key_norm=True, dtype=self.dtype_policy, name=f"encoder_{i}"
            )
            for i in range(depth)
        ]

    def build(self, query_shape: Shape, keys_shape: Shape) -> None:
        q, k = check_pair(self, query_shape, keys_shape)
        for layer in self.layers:
            layer.build((None, keys_shape[1], k + q))
        self.built = True

    def call(self, query: tf.Tensor, keys: tf.Tensor, attention_mask: tf.Tensor | None = None) -> tf.Tensor:
        rows, length = tf.shape(query)[0], keys.shape[1]
        every = tf.broadcast_to(keys, [rows, length, keys.shape[2]])
        x = tf.concat([every, tf.repeat(query[:, None], length, axis=1)], axis=2)  # (batch, length, k + q)
        if attention_mask is None:
            attention_mask = tf.ones([1, length], tf.bool)
        attention_mask = tf.broadcast_to(attention_mask, [rows, length])
        for layer in self.layers:
            x = layer(x, mask=attention_mask)
        is_newest = attention_mask & (tf.cumsum(tf.cast(attention_mask, tf.int32), axis=1, reverse=True) == 1)
        newest = tf.reduce_sum(tf.where(is_newest[..., None], x, 0), axis=1)
        greatest = tf.reduce_max(tf.where(attention_mask[..., None], x, x.dtype.min), axis=1)
        greatest = tf.where(tf.reduce_any(attention_mask, axis=1, keepdims=True), greatest, 0)
        return tf.concat([newest, greatest], axis=1)

    def compute_output_shape(self, query_shape: Shape, keys_shape: Shape) -> Shape:
        return query_shape[0], 2 * sum(check_pair(self, query_shape, keys_shape))

    def get_config(self) -> dict[str, Any]:
        own = {"depth": self.depth, "heads": self.heads, "units": self.units, "dropout": self.dropout}
        return {**super().get_config(), **own, "activation": keras.activations.serialize(self.activation)}
