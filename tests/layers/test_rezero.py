"""ReZero, its deep stack, its transformer encoder, and what grows deeper without a change."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.layers import CrossMixture, CrossTower, ReZero, ReZeroEncoder, ReZeroStack, SmeLU, insert
from tfstable.optimizers import Adagrad

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8)).astype(np.float32)
HISTORY = RNG.normal(size=(3, 5, 8)).astype(np.float32)


def _open(layer, seed=1):
    """Gives every weight of a built layer a number, the gates among them."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    return layer


# --- The wrapper.


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (keras.layers.Dense(8, "relu"), X),
        (keras.Sequential([keras.layers.Dense(3, "tanh"), keras.layers.Dense(8)]), X),
        (CrossTower(2), X),
        (keras.layers.MultiHeadAttention(2, 4), HISTORY),
        (keras.layers.GRU(8, return_sequences=True), HISTORY),
    ],
)
def test_is_the_identity_at_the_start_and_the_formula_later(layer, x):
    gated = ReZero(layer)
    np.testing.assert_array_equal(gated(x), x)
    _open(gated)
    branch = layer(x, x) if isinstance(layer, keras.layers.MultiHeadAttention) else layer(x)
    np.testing.assert_allclose(gated(x), x + float(gated.alpha) * np.asarray(branch), rtol=1e-5, atol=1e-6)
    assert float(gated.alpha) != 0


def test_at_the_start_only_the_gate_has_a_gradient():
    gated = ReZero(keras.layers.Dense(8))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gated(X) ** 2)
    alpha, kernel = tape.gradient(loss, [gated.alpha.value, gated.layer.kernel.value])
    assert float(alpha) != 0
    np.testing.assert_array_equal(kernel, np.zeros((8, 8)))


def test_training_and_masks_reach_the_branch():
    noisy = ReZero(keras.layers.Dropout(0.5))
    noisy(X)
    noisy.alpha.assign(1.0)
    np.testing.assert_allclose(noisy(X, training=False), 2 * X)
    model = keras.Sequential([keras.layers.Identity(), noisy])
    assert not np.allclose(model(X, training=True), 2 * X)
    attention = ReZero(keras.layers.MultiHeadAttention(2, 4))
    attention(HISTORY)
    _open(attention)
    masked = attention(HISTORY, attention_mask=np.array([True, True, False, False, False])[None, None])
    np.testing.assert_allclose(masked[:, :2], attention(HISTORY[:, :2]), atol=1e-6)


# --- The stack.


def _reference(x, kernel, bias, alpha):
    for W, b, a in zip(kernel, bias, alpha, strict=True):
        x = x + a * np.maximum(x @ W + b, 0)
    return x


@pytest.mark.parametrize("depth", [1, 9, 10, 30, 37])
def test_stack_is_its_layers_one_after_the_other(depth):
    stack = ReZeroStack(depth, dtype="float64")
    stack(X)
    _open(stack)
    kernel, bias, alpha = (w.numpy() for w in (stack.kernel, stack.bias, stack.alpha))
    np.testing.assert_allclose(stack(X), _reference(X.astype(np.float64), kernel, bias, alpha), rtol=1e-12)


@pytest.mark.parametrize("depth", [9, 20, 33])
def test_stack_has_the_gradients_of_its_layers(depth):
    stack = ReZeroStack(depth, SmeLU(0.5), dtype="float64")
    stack(X)
    _open(stack)
    weights, x = [w.value for w in stack.weights], tf.constant(X, tf.float64)

    def unrolled(x, kernel, bias, alpha):
        for i in range(depth):
            x += alpha[i] * SmeLU(0.5)(x @ kernel[i] + bias[i])
        return x

    results = []
    for f in (lambda: stack(x), lambda: unrolled(x, *weights)):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            loss = tf.reduce_sum(tf.sin(f()))
        results.append(tape.gradient(loss, [x, *weights]))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, tf.convert_to_tensor(expected), rtol=1e-9, atol=1e-12)


def test_stack_has_the_gradient_of_finite_differences():
    stack = ReZeroStack(12, "tanh", dtype="float64")
    stack(X)
    _open(stack)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(stack(X) ** 2)
    gradients = tape.gradient(loss, [w.value for w in stack.weights])
    for weight, gradient in zip(stack.weights, gradients, strict=True):
        direction, h, start = np.random.default_rng(2).normal(size=weight.shape), 1e-6, weight.numpy()
        ends = []
        for sign in (1, -1):
            weight.assign(start + sign * h * direction)
            ends.append(float(tf.reduce_sum(stack(X) ** 2)))
        weight.assign(start)
        np.testing.assert_allclose(tf.reduce_sum(gradient * direction), (ends[0] - ends[1]) / (2 * h), rtol=1e-5)


def _operations(depth):
    stack = ReZeroStack(depth)
    stack.build((None, 4))

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(stack(x))
        return tape.gradient(loss, [w.value for w in stack.weights])

    graph = step.get_concrete_function().graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def test_the_graph_does_not_grow_with_depth():
    assert _operations(10_000) == _operations(1_000)


def test_each_layer_starts_as_he_normal():
    stack = ReZeroStack(50)
    stack.build((None, 32))
    layers = stack.kernel.numpy().std(axis=(1, 2))
    np.testing.assert_allclose(layers, np.sqrt(2 / 32), rtol=0.15)  # 1024 weights a layer: 2.2 % standard error
    assert not stack.alpha.numpy().any()


@pytest.mark.parametrize("position", [0, 7, 25])
def test_stack_with_inserted_layers_predicts_bit_for_bit_the_same(position):
    stack = ReZeroStack(25, "tanh")
    stack(X)
    _open(stack)
    deeper = stack.insert(position, 8)
    assert deeper.depth == 33
    np.testing.assert_array_equal(deeper(X), stack(X))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(deeper(X) ** 2)
    assert np.all(tape.gradient(loss, deeper.alpha.value).numpy()[position : position + 8])  # All of them learn.


def test_1000_layers_train():
    keras.utils.set_random_seed(0)
    stack, output, optimizer = ReZeroStack(1000), keras.layers.Dense(1), Adagrad(0.003)
    x, y = tf.constant(X), tf.constant(RNG.normal(size=(6, 1)), tf.float32)
    output(stack(x))
    variables = stack.trainable_variables + output.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((output(stack(x)) - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, [v.value for v in variables]), variables, strict=True))
        return loss

    losses = [float(step()) for _ in range(25)]
    assert losses[-1] < 0.3 * losses[0]


# --- Inserting into a model.


def test_inserted_layer_changes_no_prediction_and_learns(tmp_path):
    model = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    model.compile(Adagrad(0.1), "mse")
    y = RNG.normal(size=(6, 1))
    model.fit(X, y, epochs=3, verbose=0)
    deeper = insert(model, 1, ReZeroStack(12))
    np.testing.assert_array_equal(deeper(X), model(X))
    assert len(deeper.weights) == len(model.weights) + 4
    deeper.save(tmp_path / "deeper.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "deeper.keras")(X), model(X))
    deeper.compile(Adagrad(0.1), "mse")
    deeper.fit(X, y, epochs=3, verbose=0)
    assert float(deeper.layers[1].alpha) != 0


def functional(make):
    x = keras.Input((8,))
    return keras.Model(x, make(x))


class Doubled(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return 2 * super().call(x, training=training)


def several(x):
    return [keras.layers.Dense(1)(x), keras.layers.Dense(1)(x)]


def shared(x):
    layer = keras.layers.Dense(8, "relu")
    return layer(layer(x))


@pytest.mark.parametrize(
    "model",
    [
        functional(lambda x: x + keras.layers.Dense(8, "relu")(x)),
        functional(shared),
        functional(several),
        functional(keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(1)])),
        keras.Model([a := keras.Input((8,)), b := keras.Input((8,))], keras.layers.Add()([a, b])),
        Doubled([keras.Input((8,)), keras.layers.Dense(8)]),
    ],
    ids=["skip", "shared", "outputs", "nested", "inputs", "subclass"],
)
def test_insert_refuses_what_is_not_one_layer_after_the_other(model):
    with pytest.raises(ValueError, match=r"insert needs a keras.Sequential.*; build a new model.* carry_over"):
        insert(model, 1, keras.layers.Dense(8))


def test_insert_keeps_a_model_inside_the_model_and_the_dtype_of_its_input():
    inner = functional(lambda x: x + keras.layers.Dense(8, "relu")(x))
    table = keras.layers.Embedding(2**24 + 16, 1)  # Ids above 2^24, which float32 does not hold.
    start = keras.Input((8,), dtype="int64")
    model = keras.Sequential([start, table, keras.layers.Flatten(), inner, keras.layers.Dense(1)])
    ids = np.arange(8)[None] + 2**24 + 1
    deeper = insert(model, 3, keras.layers.Dense(8))
    assert deeper.layers[2] is inner
    np.testing.assert_array_equal(deeper(ids), model(ids))


# --- Shapes: broadcasting would give a number, and a wrong one.


def called(layer, *inputs, **options):
    return lambda: layer(*inputs, **options)


def test_rezero_refuses_a_shape_that_is_known_only_when_it_is_called():
    class Mean(keras.layers.Layer):
        def call(self, x):
            return tf.reduce_mean(x, axis=1, keepdims=True)

        def compute_output_shape(self, shape):
            return shape  # Which is not true.

    with pytest.raises(ValueError, match=r"output of 'mean' must have shape \(3, 5, 8\), got \(3, 1, 8\)"):
        ReZero(Mean(name="mean"))(HISTORY)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            called(ReZero(keras.layers.Dense(1, name="one")), X),
            r"output of 'one' must have shape \(6, 8\), got \(6, 1\)",
        ),
        (lambda: keras.Sequential([keras.Input((8,)), ReZero(keras.layers.Dense(1))]), r"\(None, 8\), got \(None, 1\)"),
        (called(ReZero(keras.layers.GRU(8)), HISTORY), r"must have shape \(3, 5, 8\), got \(3, 8\)"),
        (called(ReZero(keras.layers.Flatten()), HISTORY), r"must have shape \(3, 5, 8\), got \(3, 40\)"),
        (called(ReZero(keras.layers.LSTM(8, return_sequences=True, return_state=True)), HISTORY), "one tensor, got 3"),
        (called(ReZero(keras.layers.Add()), [X, X]), "takes one tensor"),
        (called(ReZero(keras.layers.Dense(8)), X[:, :0]), "known width of at least 1"),
        (called(ReZeroStack(3), HISTORY), r"takes \(batch, width\).*got \(3, 5, 8\)"),
        (called(ReZeroStack(3), X[0]), r"takes \(batch, width\).*got \(8,\)"),
        (called(ReZeroStack(3), X[:, :0]), r"width of at least 1, got \(6, 0\)"),
        (
            called(ReZeroStack(3, lambda x: tf.reduce_max(x, 1, keepdims=True)), X),
            r"output of activation.*got \(6, 1\)",
        ),
        (called(ReZeroEncoder(2, 4), X), r"takes \(batch, length, width\).*got \(6, 8\)"),
        (
            called(ReZeroEncoder(2, 4), HISTORY, mask=np.ones((3, 1), bool)),
            r"mask must have shape \(3, 5\), got \(3, 1\)",
        ),
        (called(CrossTower(1), HISTORY), r"takes \(batch, width\)"),
        (called(CrossTower(1, 2, 2), X[:, :0]), "known width of at least 1"),
        (called(CrossMixture(2, 2), X[:1], X), r"x must have shape \(1, 8\), got \(6, 8\)"),
        (
            lambda: insert(keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)]), 0, keras.layers.Dense(1)),
            "shape",
        ),
    ],
)
def test_shapes_that_would_broadcast_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_stack_that_is_built_refuses_another_width():
    stack = ReZeroStack(3)
    stack(X)
    with pytest.raises(ValueError, match=r"the input must have shape \(None, 8\), got \(6, 1\)"):
        stack(X[:, :1])


# --- The encoder.


def test_encoder_is_two_gated_branches():
    encoder = ReZeroEncoder(2, 12, "tanh")
    np.testing.assert_array_equal(encoder(HISTORY), HISTORY)
    _open(encoder)
    attention, forward = encoder.attention, encoder.feed_forward
    middle = HISTORY + float(attention.alpha) * np.asarray(attention.layer(HISTORY, HISTORY))
    inner, _, outer = forward.layer.layers
    branch = np.tanh(middle @ inner.kernel.numpy() + inner.bias.numpy()) @ outer.kernel.numpy() + outer.bias.numpy()
    np.testing.assert_allclose(encoder(HISTORY), middle + float(forward.alpha) * branch, rtol=1e-4, atol=1e-5)


def test_encoder_does_not_look_at_padding():
    encoder = ReZeroEncoder(2, 12)
    encoder(HISTORY)
    _open(encoder)
    mask = np.array([[True] * n + [False] * (5 - n) for n in (2, 5, 3)])
    y = encoder(HISTORY, mask=mask)
    np.testing.assert_allclose(y[0, :2], encoder(HISTORY[:1, :2])[0], atol=1e-6)
    embedding = keras.layers.Embedding(9, 8, mask_zero=True)
    rows = np.array([[3, 4, 0, 0], [1, 2, 3, 4]])
    np.testing.assert_allclose(encoder(embedding(rows))[0, :2], encoder(embedding(rows[:1, :2]))[0], atol=1e-6)


def _singular_values(f):
    """Of the Jacobian of the flattened output in the flattened input, for one sequence."""
    x = tf.constant(HISTORY[:1, :2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.reshape(f(x), (1, -1))
    jacobian = tf.reshape(tape.jacobian(y, x, experimental_use_pfor=False), (y.shape[1], y.shape[1]))
    return np.linalg.svd(jacobian.numpy(), compute_uv=False)


def test_jacobian_of_a_deep_encoder_is_the_identity_at_the_start_and_the_plain_ones_is_not():
    keras.utils.set_random_seed(0)
    encoders = [ReZeroEncoder(2, 16) for _ in range(8)]

    def gated(x):
        for encoder in encoders:
            x = encoder(x)
        return x

    def plain(x):
        for encoder in encoders:
            x = encoder.feed_forward.layer(encoder.attention.layer(x, x))
        return x

    np.testing.assert_allclose(_singular_values(gated), 1.0, atol=1e-6)
    assert _singular_values(plain).mean() < 0.1


def test_64_encoder_layers_train_without_warm_up():
    keras.utils.set_random_seed(0)
    encoders = [ReZeroEncoder(2, 16) for _ in range(64)]
    model = keras.Sequential([*encoders, keras.layers.Flatten(), keras.layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(16, 5, 8)).astype(np.float32)
    y = (x[:, 0] * x[:, 1]).sum(axis=1, keepdims=True)  # Products of elements, which attention can see.
    model(x)
    losses = []
    for _ in range(5):  # Eagerly: tracing 64 layers of attention takes longer than a few steps.
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        variables = [v.value for v in model.trainable_variables]
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(1e-2 * tf.sign(gradient))  # Adam's first step, in every step.
        losses.append(float(loss))
    assert losses[-1] < 0.75 * losses[0]
    assert max(losses) == losses[0]  # No jump, at the full rate from the first step.


# --- Domains.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ReZeroStack(0), "depth must be at least 1, got 0"),
        (lambda: ReZeroEncoder(0, 8), "heads and units must be at least 1"),
        (lambda: ReZeroEncoder(2, 8, dropout=1.0), r"dropout must be in \[0, 1\), got 1.0"),
        (lambda: ReZeroEncoder(3, 8)(HISTORY), "multiple of heads, got width 8, heads 3"),
        (lambda: ReZeroStack(3).insert(0, 1), "built stack"),
        (lambda: insert(keras.Sequential([keras.layers.Dense(2)]), 0, ReZeroStack(1)), "built model"),
    ],
)
def test_arguments_outside_their_domain_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
