"""Layers that read histories: against NumPy, padded, empty, and one history for all queries."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import reference
from tfstable.layers import HistoryDecoder, HistoryEncoder, MaskedMean, NormalisedAttention, SmeLU, TargetAttention

B, L, Q, K = 6, 5, 4, 6
RNG = np.random.default_rng(0)
QUERY, KEYS = RNG.normal(size=(B, Q)), RNG.normal(size=(B, L, K))
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0] * 5, [1, 0, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0]], bool)
EMPTY = 2
READERS = {
    "target": lambda: TargetAttention((5,), "tanh", dtype="float64"),
    "target of softmax": lambda: TargetAttention((5, 3), "tanh", softmax=True, dtype="float64"),
    "target of SmeLU": lambda: TargetAttention((5,), SmeLU(0.7), dtype="float64"),
    "target of SmeLU and softmax": lambda: TargetAttention((5,), SmeLU(0.7), softmax=True, dtype="float64"),
    "encoder": lambda: HistoryEncoder(1, 2, 7, "tanh", dtype="float64"),
    "decoder": lambda: HistoryDecoder(1, 3, 7, "tanh", dtype="float64"),
}
every_reader = pytest.mark.parametrize("name", READERS)


def built(layer: keras.layers.Layer, *inputs: np.ndarray) -> keras.layers.Layer:
    """The layer with random weights everywhere: gates of zero would hide its parts."""
    layer(*map(tf.constant, inputs))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    return layer


def read(layer: keras.layers.Layer, query=QUERY, keys=KEYS, mask=MASK) -> np.ndarray:
    mask = None if mask is None else tf.constant(mask)
    return layer(tf.constant(query), tf.constant(keys), attention_mask=mask).numpy()


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("width", [Q, K])
def test_target_attention_is_the_published_concatenation(softmax, width):
    query = np.random.default_rng(2).normal(size=(B, width))
    layer = built(TargetAttention((5,), "tanh", softmax, dtype="float64"), query, KEYS)
    weights = [w.numpy() for w in layer.weights]
    kernel, bias, score, score_bias = [*weights, np.zeros(1)][:4]
    expected = reference.target_attention(query, KEYS, MASK, kernel, bias, score, score_bias, np.tanh, softmax)
    assert kernel.shape == (3 * width + K, 5)
    np.testing.assert_allclose(read(layer, query), expected, rtol=1e-10, atol=1e-12)


def test_normalised_attention():
    keys = KEYS[:, :3]
    layer = built(NormalisedAttention(2, dtype="float64"), KEYS, keys)
    w = {name: getattr(layer, f"{name}_dense").kernel.numpy() for name in ("query", "key", "value", "output")}
    w |= {"query_gamma": layer.query_norm.gamma, "query_beta": layer.query_norm.beta, "key_gamma": layer.key_norm.gamma}
    w["bias"] = layer.output_dense.bias.numpy()
    got = layer(tf.constant(KEYS), context=tf.constant(keys), attention_mask=tf.constant(MASK[:, None, :3]))
    for b in range(B):
        expected = reference.normalised_attention(KEYS[b], keys[b], MASK[b, :3], w, 2)
        np.testing.assert_allclose(got[b], expected, rtol=1e-10, atol=1e-12)


def test_logits_of_normalised_attention_do_not_grow_with_its_weights():
    layer = built(NormalisedAttention(1, dtype="float64"), KEYS)
    before = layer(tf.constant(KEYS)).numpy()
    for dense in (layer.query_dense, layer.key_dense):
        dense.kernel.assign(dense.kernel * 1e6)
    # The epsilon of the normalisation is all that can be seen of it.
    np.testing.assert_allclose(layer(tf.constant(KEYS)), before, rtol=0.02, atol=0.02)


def _weights_of(layer):
    return {w.path.split("/", 1)[1]: w.numpy() for w in layer.weights}


def test_the_decoder():
    layer = built(HistoryDecoder(1, 2, 7, "tanh", dtype="float64"), QUERY, KEYS)
    attention, feed_forward = layer.attentions[0], layer.feed_forwards[0]
    w = {name: getattr(attention.layer, f"{name}_dense").kernel.numpy() for name in ("query", "key", "value", "output")}
    for n in ("query", "key"):
        norm = getattr(attention.layer, f"{n}_norm")
        w |= {f"{n}_gamma": norm.gamma.numpy()} | ({f"{n}_beta": norm.beta.numpy()} if n == "query" else {})
    w["bias"] = attention.layer.output_dense.bias.numpy()
    inner, _, outer = feed_forward.layer.layers
    got = read(layer)
    for b in range(B):
        x = QUERY[b] @ layer.query_dense.kernel.numpy() + layer.query_dense.bias.numpy()
        x = x + attention.alpha.numpy() * reference.normalised_attention(x[None], KEYS[b], MASK[b], w, 2)[0]
        hidden = np.tanh(x @ inner.kernel.numpy() + inner.bias.numpy())
        x = x + feed_forward.alpha.numpy() * (hidden @ outer.kernel.numpy() + outer.bias.numpy())
        np.testing.assert_allclose(got[b], x if MASK[b].any() else 0 * x, rtol=1e-10, atol=1e-12)


def test_a_new_encoder_puts_out_the_newest_pair_and_the_greatest_elements():
    layer = HistoryEncoder(2, 2, 7, dtype="float64")
    got = read(layer)
    for b in range(B):
        pairs = np.array([[*KEYS[b, i], *QUERY[b]] for i in np.flatnonzero(MASK[b])]).reshape(-1, K + Q)
        expected = [*pairs[-1], *pairs.max(axis=0)] if len(pairs) else np.zeros(2 * (K + Q))
        np.testing.assert_allclose(got[b], expected)


def test_the_masked_mean():
    got = MaskedMean(dtype="float64")(tf.constant(KEYS), attention_mask=tf.constant(MASK)).numpy()
    expected = [KEYS[b][MASK[b]].mean(axis=0) if MASK[b].any() else np.zeros(K) for b in range(B)]
    np.testing.assert_allclose(got, expected)
    np.testing.assert_allclose(MaskedMean(dtype="float64")(tf.constant(KEYS)), KEYS.mean(axis=1))


@every_reader
def test_padding_is_not_read_and_an_empty_history_is_zero(name):
    layer = built(READERS[name](), QUERY, KEYS)
    got = read(layer)
    other = np.where(MASK[..., None], KEYS, 1e3)
    np.testing.assert_array_equal(read(layer, keys=other), got)
    assert not got[EMPTY].any()
    assert np.abs(np.delete(got, EMPTY, axis=0)).max(axis=1).min() > 0.01
    np.testing.assert_allclose(read(layer, mask=np.ones_like(MASK)), read(layer, mask=None), rtol=1e-12)


@every_reader
def test_gradients_against_differences(name):
    layer = built(READERS[name](), QUERY, KEYS)
    upstream = tf.constant(np.random.default_rng(3).normal(size=read(layer).shape))
    inputs = [tf.constant(QUERY), tf.constant(KEYS)]
    weights = [w.value for w in layer.trainable_weights]

    def loss(query, keys):
        return tf.reduce_sum(layer(query, keys, attention_mask=tf.constant(MASK)) * upstream)

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(*inputs)
    gradients = tape.gradient(value, [*inputs, *weights])
    step, rng = 1e-6, np.random.default_rng(4)
    for x, gradient in zip([*inputs, *weights], gradients, strict=True):
        assert np.isfinite(gradient).all()
        direction = rng.normal(size=x.shape)
        sides = []
        for sign in (1, -1):
            moved = x + sign * step * direction
            if isinstance(x, tf.Variable):
                before = tf.identity(x)
                x.assign(moved)
                sides.append(loss(*inputs))
                x.assign(before)
            else:
                sides.append(loss(*(moved if x is y else y for y in inputs)))
        slope = float(sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-5, atol=1e-6)
    query_gradient, keys_gradient = gradients[:2]
    assert not keys_gradient.numpy()[~MASK].any()
    assert not query_gradient.numpy()[EMPTY].any()


@every_reader
def test_one_history_serves_all_queries(name):
    layer = built(READERS[name](), QUERY, KEYS)
    for row in (4, EMPTY):
        keys, mask = KEYS[row : row + 1], MASK[row : row + 1]
        repeated = read(layer, keys=np.repeat(keys, B, axis=0), mask=np.repeat(mask, B, axis=0))
        np.testing.assert_allclose(read(layer, keys=keys, mask=mask), repeated, rtol=1e-10, atol=1e-12)


@every_reader
def test_half_precision_has_no_nan_where_a_history_is_empty(name):
    layer = READERS[name]()
    layer = type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})
    query, keys = (tf.Variable(x, dtype=tf.float32) for x in (QUERY, KEYS))
    with tf.GradientTape() as tape:
        y = layer(query, keys, attention_mask=tf.constant(MASK))
    assert y.dtype == tf.bfloat16
    assert all(
        np.isfinite(g).all() for g in tape.gradient(y, [query, keys, *(w.value for w in layer.trainable_weights)])
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TargetAttention(()), "units must be at least one width"),
        (lambda: HistoryEncoder(0, 1, 1), "depth must be at least 1, got 0"),
        (lambda: HistoryDecoder(1, 1, 0), "depth and units must be at least 1"),
        (lambda: NormalisedAttention(1, 1.0), r"dropout in \[0, 1\)"),
        (lambda: NormalisedAttention(4)(tf.zeros([2, 3, 6])), "multiple of heads, got width 6, heads 4"),
        (
            lambda: TargetAttention()(tf.zeros([2, 9]), tf.zeros([2, 3, 6])),
            "must not be wider than the keys, got 9 and 6",
        ),
        (lambda: TargetAttention()(tf.zeros([2, 4]), tf.zeros([2, 6])), "takes .batch, length, width."),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
