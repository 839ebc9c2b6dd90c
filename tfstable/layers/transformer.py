"""A transformer encoder without layer normalisation."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.normalised_attention import NormalisedAttention
from tfstable.layers.rezero import ReZero
from tfstable.layers.shapes import Shape, check_equal, check_one_input


@keras.saving.register_keras_serializable(package="tfstable")
class ReZeroEncoder(keras.layers.Layer):
    """One layer of a transformer encoder, for sequences such as a user's history.

        x <- x + alpha_1 * SelfAttention(x)
        x <- x + alpha_2 * FeedForward(x),     FeedForward(x) = f(x W_1 + b_1) W_2 + b_2,     alphas 0 at the start

    ReZero gates replace the layer normalisation of the usual encoder. A deep stack starts as the identity and trains at
    its full learning rate from the first step.

    Args:
        heads: Attention heads. At least 1. The width of the input must be a multiple of it.
        units: Inner width of the feed-forward part. At least 1.
        activation: The function f: a Keras activation by name, or a callable.
        dropout: Rate on attention weights and on the inner feed-forward layer, in [0, 1).
        query_key_norm: Layer-normalise the queries and keys of the attention; see `NormalisedAttention`.

    Call arguments:
        x: Sequences.
        mask: `(batch, length)` bool, False where an example's sequence is padded. Keras's own mask, as set by
            `Embedding(mask_zero=True)`, is taken too.

    Shapes:
        `(batch, length, width)` in, same shape out.

    Raises:
        ValueError: If an argument is outside its domain, the width is not a multiple of `heads`, or input or mask have
            another shape.

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

    def build(self, input_shape: Shape) -> None:
        width = check_one_input(self, input_shape, rank=3)
        policy = self.dtype_policy
        attention = attention_of(width, self.heads, self.dropout, self.query_key_norm, dtype=policy, name="attention")
        feed_forward = feed_forward_of(width, self.units, self.activation, self.dropout, policy)
        self.attention = ReZero(attention, dtype=policy, name="rezero_attention")
        self.feed_forward = ReZero(feed_forward, dtype=policy, name="rezero_feed_forward")
        self.attention.build(input_shape)
        self.feed_forward.build(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        if mask is not None:
            check_equal(self, "mask", mask.shape, x.shape[:2])
        among = None if mask is None else mask[:, None, :]  # (batch, 1, length): whom every element may attend to
        return self.feed_forward(self.attention(x, attention_mask=among))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        own = {"heads": self.heads, "units": self.units, "activation": activation, "dropout": self.dropout}
        return {**super().get_config(), **own, "query_key_norm": self.query_key_norm}


def check_arguments(heads: int, units: int, dropout: float) -> None:
    """Checks what encoder and decoder layers have in common.

    Raises:
        ValueError: If an argument is outside its domain.
    """
    if heads < 1 or units < 1:
        raise ValueError(f"heads and units must be at least 1, got {heads=}, {units=}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")


def attention_of(width: int, heads: int, dropout: float, query_key_norm: bool, **kwargs: Any) -> keras.layers.Layer:
    """Returns the attention of an encoder or decoder layer.

    Raises:
        ValueError: If `width` is not a multiple of `heads`.
    """
    if width % heads:
        raise ValueError(f"the input's width must be a multiple of heads, got width {width}, heads {heads}")
    if query_key_norm:
        return NormalisedAttention(heads, dropout, **kwargs)
    return keras.layers.MultiHeadAttention(heads, width // heads, dropout=dropout, **kwargs)


def feed_forward_of(
    width: int, units: int, activation: Callable[..., Any], dropout: float, policy: keras.DTypePolicy
) -> keras.Sequential:
    """Returns the feed-forward part of an encoder or decoder layer."""
    branch = [
        keras.layers.Dense(units, activation=activation, dtype=policy, name="inner"),
        keras.layers.Dropout(dropout, dtype=policy),
        keras.layers.Dense(width, dtype=policy, name="outer"),
    ]
    feed_forward = keras.Sequential(branch, name="feed_forward")
    feed_forward.supports_masking = True  # Element by element: masks pass.
    return feed_forward
