"""The clippings and presets at points whose arithmetic is visible."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfstable.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdaptiveGradient,
    AdaX,
    Clippy,
    ClippyAdagrad,
    ClippyAdam,
    GradientNorm,
    Muon,
    TrustRatio,
)


def factor(clipping, update, weight, gradient=None, rate=1.0, is_table=False):
    update, weight = tf.constant(update, tf.float32), tf.constant(weight, tf.float32)
    gradient = update if gradient is None else tf.constant(gradient, tf.float32)
    return np.squeeze(clipping(update, gradient, weight, tf.constant(rate), is_table).numpy()).tolist()


def test_clippy():
    # Bounds 0.5 |w| + 0.25 = 2.25, 0.75, 0.25 against steps 0.5 |r| = 4.5, 1, 0.125: the smallest ratio is 2.25 / 4.5.
    assert factor(Clippy(0.5, 0.25), [9.0, -2.0, 0.25], [4.0, -1.0, 0.0], rate=0.5) == 0.5
    assert factor(Clippy(0.5, 0.25), [0.25, 0.0], [0.0, 0.0], rate=0.5) == 1.0
    assert factor(Clippy(0.5, 0.25), [9.0], [0.0], rate=0.0) == 1.0


def test_clippy_by_row_and_by_element():
    update, weight = [[8.0, 1.0], [1.0, 1.0]], [[0.0, 6.0], [6.0, 6.0]]  # bounds: (1, 4), (4, 4)
    assert factor(Clippy(0.5, 1.0), update, weight, is_table=True) == 0.125
    assert factor(Clippy(0.5, 1.0, scope="row"), update, weight, is_table=True) == [0.125, 1.0]
    assert factor(Clippy(0.5, 1.0, scope="row"), update, weight, is_table=False) == 0.125  # no rows but in tables
    assert factor(Clippy(0.5, 1.0, scope="element"), update, weight) == [[0.125, 1.0], [1.0, 1.0]]


def test_gradient_norm():
    assert factor(GradientNorm(1.0), [1.0, 1.0], [0.0, 0.0], gradient=[3.0, 4.0]) == pytest.approx(1 / 5)
    assert factor(GradientNorm(9.0), [1.0, 1.0], [0.0, 0.0], gradient=[3.0, 4.0]) == 1.0
    assert factor(GradientNorm(1.0), [0.0], [0.0]) == 1.0


def test_adaptive_gradient_is_by_output_column():
    # Columns: ||w|| = 5 and 0 (so the floor 0.5), ||g|| = 10 and 1; 0.5 * 5 / 10 and 0.5 * 0.5 / 1.
    weight, gradient = [[3.0, 0.0], [4.0, 0.0]], [[6.0, 1.0], [8.0, 0.0]]
    assert factor(AdaptiveGradient(0.5, 0.5), gradient, weight) == [0.25, 0.25]
    assert factor(AdaptiveGradient(0.5, 0.5), [6.0, 8.0], [3.0, 4.0]) == 0.25  # a vector is one unit
    three = np.stack([np.array(weight)] * 4)  # (4, 2, 2): both norms double
    assert factor(AdaptiveGradient(0.5, 0.5), np.stack([np.array(gradient)] * 4), three) == [0.25, 0.125]


def test_trust_ratio():
    assert factor(TrustRatio(0.1), [3.0, 4.0], [6.0, 8.0]) == pytest.approx(0.1 * 10 / 5)
    assert factor(TrustRatio(0.1), [3.0, 4.0], [0.0, 0.0]) == pytest.approx(0.1)  # else zero biases never move
    assert factor(TrustRatio(0.1), [0.0, 0.0], [3.0, 4.0]) == pytest.approx(0.1)


def step(optimizer, weight, gradient):
    variable = keras.Variable(weight, dtype="float64", name="w")
    optimizer.apply([tf.constant(gradient, tf.float64)], [variable])
    return variable.numpy()


def test_clippy_adagrad_by_hand():
    # G = 0.75 + 0.5^2 = 1, r = 0.5; bound 0.5 * 1 + 0.125 = 0.625; eta r = 2 > bound, so w moves by the bound.
    assert step(ClippyAdagrad(4.0, 0.5, 0.125, initial_accumulator=0.75), [1.0], [0.5]) == [1.0 - 0.625]
    # The same G_{t-1} = 0.25 delayed: r = 0.5 / 0.5 = 1.
    delayed = {"initial_accumulator": 0.25, "delayed_accumulator": True}
    assert step(ClippyAdagrad(0.5, 0.5, 0.125, **delayed), [1.0], [0.5]) == [1.0 - 0.5]
    # With + 0.125 / sqrt(0.25) the bound is 0.875.
    assert step(ClippyAdagrad(4.0, 0.5, 0.125, 0.125, **delayed), [1.0], [0.5]) == [1.0 - 0.875]
    # sigma = 0.625 / 4, so G grows by (0.5 * 0.15625)^2 instead of 0.5^2.
    optimizer = ClippyAdagrad(4.0, 0.5, 0.125, clip_accumulator_update=True, **delayed)
    step(optimizer, [1.0], [0.5])
    (accumulator,) = (v for v in optimizer.variables if v.name.endswith("accumulator"))
    assert accumulator.numpy() == [0.25 + 0.078125**2]


def test_what_enters_the_sum_of_squares():
    """A spike of 8 with a threshold of 1: the step is 0.5 / 8 of r = 8 / sqrt(0.25 + 64), and G gets 64 or 1."""
    for accumulate, squares in (("raw", 64.0), ("clipped", 1.0)):
        clipping = GradientNorm(1.0, accumulate=accumulate)
        optimizer = Adagrad(0.5, initial_accumulator=0.25, clipping=clipping)
        moved = step(optimizer, [1.0], [8.0])
        assert moved == pytest.approx([1.0 - 0.5 / 8 * 8 / np.sqrt(64.25)])
        (accumulator,) = (v for v in optimizer.variables if v.name.endswith("accumulator"))
        assert accumulator.numpy() == pytest.approx([0.25 + squares])


def test_tfrs_s_clipped_sums_are_accumulate_clipped():
    preset = ClippyAdagrad(4.0, 0.5, 0.125, clip_accumulator_update=True)
    other = Adagrad(4.0, clipping=Clippy(0.5, 0.125, accumulate="clipped"))
    one, same = (keras.Variable([1.0], dtype="float64", name="w") for _ in range(2))
    for gradient in (0.5, 2.0, 0.25):
        preset.apply([tf.constant([gradient], tf.float64)], [one])
        other.apply([tf.constant([gradient], tf.float64)], [same])
        assert one.numpy() == same.numpy()


@pytest.mark.parametrize(
    ("preset", "spelled_out"),
    [
        (ClippyAdagrad(0.5), Adagrad(0.5, clipping=Clippy(0.5, 1e-2))),
        (ClippyAdam(0.5), Adam(0.5, clipping=Clippy(0.5, 1e-2))),
    ],
)
def test_presets_are_what_they_say(preset, spelled_out):
    rng = np.random.default_rng(0)
    one, other = (keras.Variable(np.ones((4, 3)), dtype="float32", name="w") for _ in range(2))
    for _ in range(20):
        g = tf.constant(rng.normal(size=(4, 3)), tf.float32)
        preset.apply([g], [one])
        spelled_out.apply([g], [other])
    np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_clippy_adagrad_says_when_it_cannot_clip():
    with pytest.warns(UserWarning, match=r"learning_rate=0\.01, and absolute_threshold=0\.01"):
        ClippyAdagrad(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ClippyAdagrad(0.02)
        ClippyAdagrad(0.01, delayed_accumulator=True)


def test_a_zero_throttles_its_tensor_or_itself():
    """999 weights of one and one of zero, all with r = 1: Clippy allows the zero 0.01, the others 0.51."""
    weight, gradient = np.ones(1000), np.full(1000, 1e3)
    weight[0] = 0.0
    by_tensor = weight - step(ClippyAdagrad(0.5), weight, gradient)
    np.testing.assert_allclose(by_tensor, 0.01, rtol=1e-6)
    by_element = weight - step(ClippyAdagrad(0.5, scope="element"), weight, gradient)
    np.testing.assert_allclose(by_element, [0.01] + [0.5] * 999, rtol=1e-6)


def test_adax_outlives_the_growth_of_its_published_form():
    """(1 + 1e-4)^t leaves float32 at t = 887,000; the running mean does not."""
    optimizer = AdaX(0.5, beta_1=0.0)
    variable = keras.Variable([1.0], dtype="float32", name="w")
    optimizer.build([variable])
    optimizer.apply([tf.constant([2.0])], [variable])
    optimizer.iterations.assign(10**6)
    optimizer.apply([tf.constant([2.0])], [variable])
    np.testing.assert_allclose(variable.numpy(), [1 - 0.5 - 0.5], atol=1e-6)  # r = 2 / sqrt(4) both times


def test_weight_decay_is_decoupled_and_spares_what_is_excluded():
    kernel, bias = (keras.Variable([2.0], dtype="float32", name=name) for name in ("kernel", "bias"))
    optimizer = Adagrad(0.5, initial_accumulator=0.75, weight_decay=0.25)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([tf.constant([0.5]), tf.constant([0.5])], [kernel, bias])
    assert kernel.numpy() == [2 - 0.5 * 0.25 * 2 - 0.5 * 0.5]  # r = 0.5 / sqrt(0.75 + 0.25)
    assert bias.numpy() == [2 - 0.5 * 0.5]


def test_whole_table_work_is_refused():
    table = keras.Variable(np.ones((3, 2)), name="embeddings")
    with pytest.raises(ValueError, match=r"weight_decay must be None for the embedding table .embeddings.*got 0\.1"):
        Adagrad(0.1, weight_decay=0.1).build([table])
    unmarked = keras.Variable(np.ones((3, 2)), name="kernel")
    with pytest.raises(ValueError, match="weight_decay must be None for the embedding table 'kernel'"):
        Adagrad(0.1, weight_decay=0.1).apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0]))], [unmarked])
    norm = keras.constraints.UnitNorm()
    layer = keras.layers.Embedding(3, 2, embeddings_constraint=norm)
    layer.build()
    with pytest.raises(ValueError, match="constraint must be None for the embedding table"):
        Adagrad(0.1).build([layer.embeddings])


@pytest.mark.parametrize("make", [Muon])
def test_rules_of_dense_variables_are_refused_for_tables(make):
    table, kernel = keras.Variable(np.ones((3, 2)), name="embeddings"), keras.Variable(np.ones((3, 2)), name="kernel")
    with pytest.raises(ValueError, match=f"{make.__name__} is for dense variables, and 'embeddings' is an embedding"):
        make(0.1).build([table, kernel])
    with pytest.raises(ValueError, match=f"{make.__name__} is for dense variables, and 'kernel' is"):
        make(0.1).apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([0]))], [kernel])


def test_muon_steps_equally_far_in_all_directions():
    """Singular values of 1, 0.1 and 0.01 come out between 0.7 and 1.2, times 0.2 sqrt(8)."""
    left, right = (np.linalg.qr(np.random.default_rng(s).normal(size=(n, 3)))[0] for s, n in ((0, 8), (1, 5)))
    moved = -step(Muon(1.0), np.zeros((8, 5)), left @ np.diag([1.0, 0.1, 0.01]) @ right.T)
    values = np.linalg.svd(moved)[1][:3] / (0.2 * np.sqrt(8))
    assert np.all((values > 0.65) & (values < 1.25))
    np.testing.assert_allclose(np.linalg.svd(moved)[1][3:], 0, atol=1e-12)


def test_constraints_hold_on_dense_variables():
    layer = keras.layers.Dense(1, kernel_constraint=keras.constraints.NonNeg(), use_bias=False)
    layer.build((None, 2))
    layer.kernel.assign([[1.0], [0.125]])
    SGD(0.5).apply([tf.ones((2, 1))], [layer.kernel])
    assert layer.kernel.numpy().tolist() == [[0.5], [0.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adagrad(-0.1), "learning_rate must be a finite number, at least 0; got -0.1"),
        (lambda: Adagrad("fast"), "learning_rate must be a finite number, at least 0; got 'fast'"),
        (lambda: Adagrad(float("nan")), "learning_rate .* got nan"),
        (lambda: Adagrad(initial_accumulator=-1), "initial_accumulator .* at least 0; got -1"),
        (lambda: Adagrad(epsilon=-1), "epsilon .* at least 0; got -1"),
        (lambda: Adagrad(clipping="clippy"), "clipping must be None or a clipping .* got 'clippy'"),
        (lambda: Adagrad(weight_decay=-0.1), "weight_decay .* at least 0; got -0.1"),
        (lambda: Adagrad(track_every=1.5), "track_every must be an integer, at least 0; got 1.5"),
        (lambda: Adagrad(on_nonfinite="ignore"), "on_nonfinite must be one of 'skip', 'raise'; got 'ignore'"),
        (lambda: Adam(beta_1=1.0), "beta_1 .* below 1; got 1.0"),
        (lambda: Adam(beta_2=-0.1), "beta_2 .* at least 0, below 1; got -0.1"),
        (lambda: Adam(epsilon=0.0), "epsilon .* above 0; got 0.0"),
        (lambda: AdaX(beta_2=0.0), "beta_2 .* above 0; got 0.0"),
        (lambda: SGD(momentum=1.0), "momentum .* below 1; got 1.0"),
        (lambda: SGD(nesterov=True), "momentum must be above 0 with nesterov=True; got 0.0"),
        (lambda: Clippy(relative=-1), "relative .* at least 0; got -1"),
        (lambda: Clippy(absolute=0), "absolute .* above 0; got 0"),
        (lambda: Clippy(scope="column"), "scope must be one of 'tensor', 'row', 'element'; got 'column'"),
        (lambda: GradientNorm(scope="element"), "scope must be one of 'tensor', 'row'; got 'element'"),
        (lambda: GradientNorm(0), "threshold .* above 0; got 0"),
        (lambda: AdaptiveGradient(0), "threshold .* above 0; got 0"),
        (lambda: AdaptiveGradient(floor=0), "floor .* above 0; got 0"),
        (lambda: TrustRatio(True), "mu .* above 0; got True"),
        (lambda: ClippyAdagrad(accumulator_relative_threshold=-1), "accumulator_relative_threshold .* got -1"),
        (lambda: GradientNorm(accumulate="all"), "accumulate must be one of 'raw', 'clipped'; got 'all'"),
        (lambda: SGD().apply([tf.ones(2)], []), "one gradient per variable; got 1 for 0"),
        (lambda: SGD().apply([tf.ones(2)]), "needs a built optimizer"),
    ],
)
def test_bad_arguments_name_the_argument_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_variables_are_refused():
    known, unknown = keras.Variable([1.0], name="known"), keras.Variable([1.0], name="unknown")
    optimizer = SGD(0.5)
    optimizer.build([known])
    with pytest.raises(ValueError, match="'unknown' is not among the variables this optimizer was built for"):
        optimizer.apply([tf.ones(1)], [unknown])
