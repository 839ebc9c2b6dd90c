"""A candidate that reads a history by attention."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.normalised_attention import NormalisedAttention
from tfstable.layers.rezero import ReZero
from tfstable.layers.shapes import Shape, check_pair


@keras.saving.register_keras_serializable(package="tfstable")
class HistoryDecoder(keras.layers.Layer):
    """Lets the candidate attend to the history, layer by layer.

        x = q W + b
        x <- x + alpha_1 * Attention(x, keys)
        x <- x + alpha_2 * FeedForward(x),    `depth` times, alphas 0 at the start

    The work per candidate does not grow with the square of the history's length, as in an encoder. Keys and values do
    not depend on the candidate.

    Args:
        depth: Decoder layers. At least 1.
        heads: Attention heads. At least 1. The width of the keys must be a multiple of it.
        units: Inner width of the feed-forward parts. At least 1.
        activation: Activation of the feed-forward parts: a Keras activation by name, or a callable.
        dropout: Rate on attention weights and on the inner feed-forward layers, in [0, 1).

    Call arguments:
        query: The candidate.
        keys: The positions.
        attention_mask: `(batch, length)` bool, False where padded. Default: nothing is padded.

    Shapes:
        `(batch, q)` and `(batch, length, k)` in, `(batch, k)` out, zeros where all is padded. Keys and mask of one row
        serve all queries.

    Raises:
        ValueError: If an argument is outside its domain, or an input has another shape.

    References:
        Vaswani et al., "Attention Is All You Need", 2017.
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
        if depth < 1 or units < 1:
            raise ValueError(f"depth and units must be at least 1, got {depth=}, {units=}")
        self.depth, self.heads, self.units, self.dropout = depth, heads, units, dropout
        self.activation = keras.activations.get(activation)
        policy = self.dtype_policy
        self.attentions = [
            ReZero(
                NormalisedAttention(heads, dropout, dtype=policy, name="attention"),
                dtype=policy,
                name=f"rezero_attention_{i}",
            )
            for i in range(depth)
        ]

    def build(self, query_shape: Shape, keys_shape: Shape) -> None:
        q, k = check_pair(self, query_shape, keys_shape)
        policy, x = self.dtype_policy, (None, 1, k)
        self.query_dense = keras.layers.Dense(k, dtype=policy, name="query")
        self.query_dense.build((None, q))
        self.feed_forwards = []
        for i, attention in enumerate(self.attentions):
            attention.build(x)
            branch = [
                keras.layers.Dense(self.units, activation=self.activation, dtype=policy, name="inner"),
                keras.layers.Dropout(self.dropout, dtype=policy),
                keras.layers.Dense(k, dtype=policy, name="outer"),
            ]
            feed_forward = keras.Sequential(branch, name="feed_forward")
            self.feed_forwards.append(ReZero(feed_forward, dtype=policy, name=f"rezero_feed_forward_{i}"))
            self.feed_forwards[-1].build(x)
        self.built = True

    def call(self, query: tf.Tensor, keys: tf.Tensor, attention_mask: tf.Tensor | None = None) -> tf.Tensor:
        x = self.query_dense(query)[:, None]  # (batch, 1, k)
        among = None if attention_mask is None else attention_mask[:, None]
        for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
            x = feed_forward(attention(x, context=keys, attention_mask=among))
        x = tf.squeeze(x, axis=1)
        return x if attention_mask is None else tf.where(tf.reduce_any(attention_mask, axis=1, keepdims=True), x, 0)

    def compute_output_shape(self, query_shape: Shape, keys_shape: Shape) -> Shape:
        return query_shape[0], keys_shape[2]

    def get_config(self) -> dict[str, Any]:
        own = {"depth": self.depth, "heads": self.heads, "units": self.units, "dropout": self.dropout}
        return {**super().get_config(), **own, "activation": keras.activations.serialize(self.activation)}
