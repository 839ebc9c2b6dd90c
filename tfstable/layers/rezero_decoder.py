"""A transformer decoder without layer normalisation."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.rezero import ReZero
from tfstable.layers.shapes import Shape, check_equal, check_one_input
from tfstable.layers.transformer import attention_of, check_arguments, feed_forward_of


@keras.saving.register_keras_serializable(package="tfstable")
class ReZeroDecoder(keras.layers.Layer):
    """One layer of a transformer decoder: of a language model, or beside an encoder whose output it reads.

        x <- x + alpha_1 * SelfAttention(x),         where element i sees the elements up to i
        x <- x + alpha_2 * Attention(x, memory),     if there is a memory
        x <- x + alpha_3 * FeedForward(x),           FeedForward(x) = f(x W_1 + b_1) W_2 + b_2,   alphas 0 at the start

    ReZero gates replace the layer normalisation of the usual decoder. A deep stack starts as the identity.

    Args:
        heads: Attention heads. At least 1. The width of the input must be a multiple of it.
        units: Inner width of the feed-forward part. At least 1.
        activation: The function f: a Keras activation by name, or a callable.
        dropout: Rate on attention weights and on the inner feed-forward layer, in [0, 1).
        query_key_norm: Layer-normalise the queries and keys of both attentions; see `NormalisedAttention`.

    Call arguments:
        x: Sequences.
        memory: What is attended to besides, such as an encoder's output. A layer is built with a memory or without, and
            called alike from then on.
        mask: `(batch, length)` bool, False where an example's sequence is padded.
        memory_mask: `(batch, memory length)` bool, False where the memory is padded. At least one position of each row
            is not. Keras's own masks, as set by `Embedding(mask_zero=True)`, are taken for both.

    Shapes:
        `(batch, length, width)` and `(batch, memory length, width)` in, the shape of the first out.

    Raises:
        ValueError: If an argument is outside its domain, the width is not a multiple of `heads`, an input or a mask has
            another shape, or the layer was built with a memory and is called without, or the other way round.

    References:
        Vaswani et al., "Attention Is All You Need", 2017.
        Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.
    """

    def __init__(
        self,
        heads: int,
        units: int,
        activation: str | Callable[..., Any] = "relu",
        dropout: float = 0.0,
        query_key_norm: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_arguments(heads, units, dropout)
        self.heads, self.units, self.dropout = heads, units, dropout
        self.activation, self.query_key_norm = keras.activations.get(activation), query_key_norm
        self.supports_masking = True

    def build(self, x_shape: Shape, memory_shape: Shape | None = None) -> None:
        width, policy = check_one_input(self, x_shape, rank=3), self.dtype_policy
        names = {"attention": x_shape}
        if memory_shape is not None:
            check_equal(self, "memory", memory_shape, (None, None, width))
            names["memory_attention"] = memory_shape
        for name, context_shape in names.items():
            attention = attention_of(width, self.heads, self.dropout, self.query_key_norm, dtype=policy, name=name)
            gated = ReZero(attention, dtype=policy, name=f"rezero_{name}")
            attention.build(x_shape, context_shape)
            gated.build(x_shape)
            setattr(self, name, gated)
        feed_forward = feed_forward_of(width, self.units, self.activation, self.dropout, policy)
        self.feed_forward = ReZero(feed_forward, dtype=policy, name="rezero_feed_forward")
        self.feed_forward.build(x_shape)
        self._has_memory = memory_shape is not None
        self.built = True

    def call(
        self,
        x: tf.Tensor,
        memory: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        if (memory is not None) != self._has_memory:
            raise ValueError(
                f"ReZeroDecoder {self.name!r} was built {'with' if self._has_memory else 'without'} a memory"
            )
        length = tf.shape(x)[1] if x.shape[1] is None else x.shape[1]
        earlier = tf.linalg.band_part(tf.ones([1, length, length], tf.bool), -1, 0)  # (1, length, length): itself too
        if mask is not None:
            check_equal(self, "mask", mask.shape, x.shape[:2])
            earlier &= mask[:, None]
        x = self.attention(x, attention_mask=earlier)
        if memory is not None:
            if memory_mask is not None:
                check_equal(self, "memory_mask", memory_mask.shape, memory.shape[:2])
                memory_mask = memory_mask[:, None]
            x = self.memory_attention(x, context=memory, attention_mask=memory_mask)
        return self.feed_forward(x)

    def compute_output_shape(self, x_shape: Shape, memory_shape: Shape | None = None) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        own = {"heads": self.heads, "units": self.units, "activation": activation, "dropout": self.dropout}
        return {**super().get_config(), **own, "query_key_norm": self.query_key_norm}
