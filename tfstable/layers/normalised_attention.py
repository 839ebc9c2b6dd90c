"""Attention whose logits stay bounded."""

from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_equal, check_one_input


@keras.saving.register_keras_serializable(package="tfstable")
class NormalisedAttention(keras.layers.Layer):
    """Multi-head attention with layer-normalised queries and keys.

        y = [..., sum_j a_j v_j, ...] W_o + b_o,    a = softmax(LN(x W_q) . LN(c_j W_k) / sqrt(width of a head)),
        v_j = c_j W_v,                              per head

    Logits of unnormalised queries and keys grow with the weights until attention sees one position alone and its
    gradient vanishes. Normalised ones are bounded by the gains of the normalisation.

    Args:
        heads: Attention heads. At least 1. The width of the input must be a multiple of it.
        dropout: Rate on attention weights, in [0, 1).

    Call arguments:
        query: Who attends.
        context: The positions that are attended to, as wide as the query. Default: the query itself.
        attention_mask: `(batch, 1 or queries, length)` bool, False where a position must not be attended to.

    Shapes:
        `(batch, queries, width)` and `(batch, length, width)` in, `(batch, queries, width)` out. A query without any
        position gets b_o. A context of one row serves all queries.

    Raises:
        ValueError: If an argument is outside its domain, the width is no multiple of `heads`, or an input has another
            shape.

    References:
        Vaswani et al., "Attention Is All You Need", 2017.
        Henry et al., "Query-Key Normalization for Transformers", 2020.
        Dehghani et al., "Scaling Vision Transformers to 22 Billion Parameters", 2023.
    """

    def __init__(self, heads: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        if heads < 1 or not 0 <= dropout < 1:
            raise ValueError(f"heads must be at least 1 and dropout in [0, 1), got {heads=}, {dropout=}")
        self.heads, self.dropout = heads, dropout
        self.supports_masking = True

    def build(self, query_shape: Shape, context_shape: Shape | None = None) -> None:
        width = check_one_input(self, query_shape, rank=3)
        if width % self.heads:
            raise ValueError(f"the input's width must be a multiple of heads, got width {width}, heads {self.heads}")
        if context_shape is not None:
            check_equal(self, "context", context_shape, (None, None, width))
        policy = self.dtype_policy
        for name in ("query", "key", "value", "output"):
            dense = keras.layers.Dense(width, use_bias=name == "output", dtype=policy, name=name)
            dense.build((None, None, width))
            setattr(self, f"{name}_dense", dense)
        for name in ("query", "key"):
            # One vector added to all keys changes no weight: its gradient would be rounding alone, which Adam follows.
            norm = keras.layers.LayerNormalization(center=name == "query", dtype=policy, name=f"{name}_norm")
            norm.build((None, None, None, width // self.heads))
            setattr(self, f"{name}_norm", norm)
        self.drop = keras.layers.Dropout(self.dropout, dtype=policy)
        self.built = True

    def call(
        self, query: tf.Tensor, context: tf.Tensor | None = None, attention_mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        context = query if context is None else context
        q = self.query_norm(self._by_head(self.query_dense(query)))  # (batch, queries, heads, width / heads)
        k = self.key_norm(self._by_head(self.key_dense(context)))
        v = self._by_head(self.value_dense(context))
        q, k, v = (tf.transpose(x, [0, 2, 1, 3]) for x in (q, k, v))
        logits = tf.matmul(q, k, transpose_b=True) * (q.shape[-1] ** -0.5)  # (batch, heads, queries, length)
        logits = tf.cast(logits, self.variable_dtype)
        if attention_mask is None:
            weights = tf.nn.softmax(logits)
        else:
            seen = attention_mask[:, None]
            weights = tf.nn.softmax(tf.where(seen, logits, logits.dtype.min)) * tf.cast(seen, logits.dtype)
        attended = tf.matmul(self.drop(tf.cast(weights, v.dtype)), v)  # (batch, heads, queries, width / heads)
        attended = tf.transpose(attended, [0, 2, 1, 3])
        return self.output_dense(tf.reshape(attended, [-1, _length(query), query.shape[2]]))

    def _by_head(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, [-1, _length(x), self.heads, x.shape[2] // self.heads])

    def compute_output_shape(self, query_shape: Shape, context_shape: Shape | None = None) -> Shape:
        return query_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "dropout": self.dropout}


def _length(x: tf.Tensor) -> int | tf.Tensor:
    return tf.shape(x)[1] if x.shape[1] is None else x.shape[1]
