"""The transformer decoder with ReZero in place of layer normalisation."""

import numpy as np
import pytest
import tensorflow as tf

from tests import reference
from tests.layers.gated import HISTORY, opened
from tfstable.layers import ReZeroDecoder, ReZeroEncoder

RNG = np.random.default_rng(3)
MEMORY = RNG.normal(size=(3, 4, 8))
MEMORY_MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]], bool)
MASK = np.array([[True] * n + [False] * (5 - n) for n in (2, 5, 3)])


def built(query_key_norm=False):
    layer = ReZeroDecoder(2, 12, "tanh", query_key_norm=query_key_norm, dtype="float64")
    layer(tf.constant(HISTORY), tf.constant(MEMORY))
    return opened(layer)


def read(layer, x=HISTORY, memory=MEMORY, mask=MASK, memory_mask=MEMORY_MASK):
    return layer(tf.constant(x), tf.constant(memory), mask=tf.constant(mask), memory_mask=tf.constant(memory_mask))


def weights_of(attention):
    """By the names of `reference.normalised_attention`."""
    layer = attention.layer
    w = {name: getattr(layer, f"{name}_dense").kernel.numpy() for name in ("query", "key", "value", "output")}
    w |= {"query_gamma": layer.query_norm.gamma, "query_beta": layer.query_norm.beta, "key_gamma": layer.key_norm.gamma}
    return {**{name: np.asarray(v) for name, v in w.items()}, "bias": layer.output_dense.bias.numpy()}


def test_decoder_is_three_gated_branches_and_starts_as_the_identity():
    np.testing.assert_array_equal(ReZeroDecoder(2, 12)(HISTORY, MEMORY.astype(np.float32)), HISTORY)
    layer = built(query_key_norm=True)
    inner, _, outer = layer.feed_forward.layer.layers
    parts = layer.attention, layer.memory_attention
    own, other = map(weights_of, parts)
    alpha, beta = (part.alpha.numpy() for part in parts)
    got = read(layer)
    for b in range(len(HISTORY)):
        x = HISTORY[b].astype(np.float64)
        seen = [reference.normalised_attention(x[i : i + 1], x[: i + 1], MASK[b, : i + 1], own, 2)[0] for i in range(5)]
        x = x + alpha * np.array(seen)
        x = x + beta * reference.normalised_attention(x, MEMORY[b], MEMORY_MASK[b], other, 2)
        hidden = np.tanh(x @ inner.kernel.numpy() + inner.bias.numpy())
        x = x + layer.feed_forward.alpha.numpy() * (hidden @ outer.kernel.numpy() + outer.bias.numpy())
        np.testing.assert_allclose(got[b], x, rtol=1e-10, atol=1e-12)


def test_no_element_sees_a_later_one_or_padding():
    layer, unpadded = built(), np.ones_like(MASK)
    before = read(layer, mask=unpadded).numpy()
    later = HISTORY.copy()
    later[:, 3:] += 10.0
    after = read(layer, x=later, mask=unpadded).numpy()
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert (np.abs(after - before)[:, 3:].max(axis=2) > 0.01).all()
    np.testing.assert_array_equal(
        read(layer, x=np.where(MASK[..., None], HISTORY, 9), memory=np.where(MEMORY_MASK[..., None], MEMORY, 9))[MASK],
        read(layer)[MASK],
    )


def test_a_decoder_without_a_memory_is_an_encoder_under_a_causal_mask():
    layer = ReZeroDecoder(2, 12)
    layer(HISTORY)
    encoder = ReZeroEncoder(2, 12)
    encoder(HISTORY)
    for one, other in zip(opened(layer).weights, encoder.weights, strict=True):
        other.assign(one)
    expected = encoder.feed_forward(encoder.attention(HISTORY, use_causal_mask=True))
    np.testing.assert_allclose(layer(HISTORY), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="built without a memory"):
        layer(HISTORY, MEMORY)
    with pytest.raises(ValueError, match="built with a memory"):
        built()(tf.constant(HISTORY))
    with pytest.raises(ValueError, match=r"memory must have shape \(None, None, 8\), got \(3, 4, 7\)"):
        ReZeroDecoder(2, 12)(HISTORY, MEMORY[..., :7])
    with pytest.raises(ValueError, match="memory_mask must have shape"):
        read(built(), memory_mask=MASK)
