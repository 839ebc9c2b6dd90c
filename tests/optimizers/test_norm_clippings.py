"""AdaGC, ZClip and AdaGN as NumPy has them: with any rule, tables apart from dense tensors, in applied steps alone."""

import copy
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import norm_reference, reference
from tests.optimizers.cases import gradients, make_variables
from tests.optimizers.replicas import train
from tfstable.optimizers import SGD, AdaGC, AdaGN, Adagrad, Adam, Composite, Group, ZClip

STEPS, SHAPES = 60, [(6, 2), (5, 4), (4,), ()]  # A table, a kernel, a bias and a scalar.
CLIPPINGS = {
    "adagc": (partial(AdaGC, warmup_steps=8), partial(norm_reference.AdaGC, warmup=8)),
    "zclip": (partial(ZClip, warmup_steps=8), partial(norm_reference.ZClip, warmup=8)),
    "adagn": (AdaGN, norm_reference.AdaGN),
}
RULES = {"adagrad": (Adagrad, reference.adagrad), "adam": (Adam, reference.adam), "plain": (SGD, reference.sgd)}


class Expected:
    """A tensor, or the rows of a table, in plain NumPy: the rule sees h g, and its state gets that or g."""

    def __init__(self, w, rule, accumulate):
        self.w, self.rule, self.accumulate, self.state, self.t = np.array(w), rule, accumulate, {}, 0

    def step(self, g, h, eta):
        self.t += 1
        raw = copy.deepcopy(self.state)
        r = self.rule(h * g, self.state, self.t)
        if self.accumulate == "raw":
            self.state = raw
            self.rule(g, self.state, self.t)
        self.w = self.w - eta * r


def batches(seed=0):
    """Gradients of each tensor with spikes, the bias's zero in some steps; ids with one duplicate."""
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        size = 100.0 if step % 7 == 6 else 1.0
        g = [size * rng.normal(size=shape) for shape in [(3, 2), *SHAPES[1:]]]
        yield rng.permutation(6)[[0, 1, 0]], [g[0], g[1], g[2] * (step % 5 != 0), g[3]]


@pytest.mark.parametrize("accumulate", ["raw", "clipped"])
@pytest.mark.parametrize(
    ("clipping", "rule"), [(c, "adagrad") for c in CLIPPINGS] + [("adagc", "adam"), ("zclip", "plain")]
)
def test_equals_numpy(clipping, rule, accumulate):
    rng = np.random.default_rng(1)
    (make_clipping, peer), (make_rule, direction) = CLIPPINGS[clipping], RULES[rule]
    starts = [rng.normal(size=shape) for shape in SHAPES]
    table, *dense = variables = [keras.Variable(w, dtype="float64", name=f"w{i}") for i, w in enumerate(starts)]
    table.is_embedding_table = True
    optimizer = make_rule(0.125, clipping=make_clipping(accumulate=accumulate))
    optimizer.build(variables)
    apply = tf.function(lambda *g: optimizer.apply(g, variables), autograph=False)
    rows = [Expected(w, direction, accumulate) for w in starts[0]]
    tensors = [Expected(w, direction, accumulate) for w in starts[1:]]
    of_tables, of_dense = peer(1), peer(3)
    for step, (ids, (values, *others)) in enumerate(batches()):
        slices = tf.IndexedSlices(tf.constant(values), tf.constant(ids), tf.constant([6, 2]))
        apply(slices, *map(tf.constant, others))
        sums = {row: values[ids == row].sum(axis=0) for row in np.unique(ids)}
        (h,) = of_tables.factors([np.sqrt(sum((g**2).sum() for g in sums.values()))])
        for row, g in sums.items():
            rows[row].step(g, h, 0.125)
        for tensor, g, h in zip(
            tensors, others, of_dense.factors([np.sqrt((g**2).sum()) for g in others]), strict=True
        ):
            tensor.step(g, h, 0.125)
        np.testing.assert_allclose(table.numpy(), np.stack([row.w for row in rows]), rtol=1e-10, err_msg=f"step {step}")
        for variable, tensor in zip(dense, tensors, strict=True):
            np.testing.assert_allclose(variable.numpy(), tensor.w, rtol=1e-10, atol=1e-13, err_msg=f"step {step}")


def factors_of(clipping, norms):
    """h of a single tensor whose gradients have these norms."""
    w, found = keras.Variable([0.0], dtype="float64", name="w"), []
    optimizer = SGD(1.0, clipping=clipping, track_every=1)
    for norm in norms:
        optimizer.apply([tf.constant([norm], tf.float64)], [w])
        found.append(optimizer.diagnostics()["w"]["clipping_factor"])
    return found


def test_adagc_by_hand():
    # Warm-up: norms 4, 2 and 1 are cut to 2, 2 and 1, gamma = 1. Then 0.5 gamma = 0.5 of 8, gamma = (1 + 0.5) / 2.
    clipping = AdaGC(relative=0.5, absolute=2.0, beta=0.5, warmup_steps=3)
    assert factors_of(clipping, [4, 2, 1, 8, 0, 0.75]) == [0.5, 1.0, 1.0, 0.0625, 1.0, 0.5]


def test_zclip_by_hand():
    # Mean 3 and variance 1 of the norms 2 and 4; z = (13 - 3) / 1, so n* = 3 + 2 * 1 / (10 / 2) = 3.4.
    assert factors_of(ZClip(threshold=2.0, warmup_steps=2), [2, 4, 13]) == pytest.approx([1, 1, 3.4 / 13], abs=1e-6)


def test_adagn_by_hand():
    # The first step has m = ||g|| and v = ||g||^2: the norm is 1. Then m = (1 + 2 * 4) / 3, v = (1 + 2 * 16) / 3.
    assert factors_of(AdaGN(0.5, 0.5), [1, 4]) == pytest.approx([1.0, 3 / np.sqrt(11) / 4])


VARIANTS = {
    "adagc": lambda: Adam(0.125, clipping=AdaGC(warmup_steps=2, accumulate="raw"), track_every=2),
    "zclip": lambda: Adagrad(0.125, clipping=ZClip(warmup_steps=2), track_every=2),
    "adagn": lambda: Composite(
        [Group("embeddings", Adagrad(0.25)), Group("dense", Adagrad(0.5, clipping=AdaGN(), track_every=2))]
    ),
}
EVERY = pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)


def run(make, steps, jit_compile=None, spoilt=(), variables=None, optimizer=None):
    """The state after the steps, each with a spike or not; those in `spoilt` have a NaN."""
    variables, optimizer = variables or make_variables(), optimizer or make()
    optimizer.build(variables)

    def apply(*g):
        optimizer.apply(g, variables)

    apply = apply if jit_compile is None else tf.function(apply, jit_compile=jit_compile, autograph=False)
    for step in steps:
        g = gradients(step, scale=50.0 if step % 3 == 2 else 1.0)
        apply(*([g[0], g[1] * np.nan, g[2]] if step in spoilt else g))
    return {v.path: v.numpy() for v in [*variables, *optimizer.variables] if "skipped" not in v.path}


def assert_equal(one, other):
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


@EVERY
def test_eager_and_graph_agree_bitwise_and_a_skipped_step_changes_no_state(make):
    eager = run(make, range(8))
    assert_equal(eager, run(make, range(8), jit_compile=False))
    assert_equal(eager, run(make, [0, 1, 100, 2, 3, 101, *range(4, 8)], spoilt=(100, 101)))


@EVERY
def test_checkpoint_resumes_bitwise(make, tmp_path):
    variables, optimizer = make_variables(), make()
    run(make, range(5), variables=variables, optimizer=optimizer)
    path = tf.train.Checkpoint(variables=variables, optimizer=optimizer).write(str(tmp_path / "c"))
    variables, optimizer = make_variables(), make()
    optimizer.build(variables)
    tf.train.Checkpoint(variables=variables, optimizer=optimizer).read(path).assert_consumed()
    assert_equal(run(make, range(8)), run(make, range(5, 8), variables=variables, optimizer=optimizer))


def test_a_clipping_can_be_dropped_over_a_checkpoint(tmp_path):
    variables, optimizer = make_variables(), Adagrad(0.1, clipping=ZClip())
    run(None, range(3), variables=variables, optimizer=optimizer)
    path = tf.train.Checkpoint(variables=variables, optimizer=optimizer).write(str(tmp_path / "c"))
    others, plain = make_variables(), Adagrad(0.1)
    plain.build(others)
    tf.train.Checkpoint(variables=others, optimizer=plain).read(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(plain.accumulator(others[1]).numpy(), optimizer.accumulator(variables[1]).numpy())


@pytest.mark.parametrize("make", [VARIANTS["adagn"], pytest.param(VARIANTS["adagc"], marks=pytest.mark.slow)])
def test_two_replicas_equal_one(make):
    one, two = train(make, 1, steps=6), train(make, 2, steps=6)
    for path, (first, second) in two.items():
        np.testing.assert_array_equal(first, second, err_msg=f"replicas differ in {path}")
        np.testing.assert_array_equal(first, one[path][0], err_msg=f"two replicas differ from one in {path}")


@pytest.mark.slow
@EVERY
def test_xla_agrees(make):
    eager, xla = run(make, range(8)), run(make, range(8), jit_compile=True)
    for path, value in eager.items():
        np.testing.assert_allclose(xla[path], value, rtol=2e-6, atol=2e-6, err_msg=path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdaGC(relative=0), "relative .* above 0; got 0"),
        (lambda: AdaGC(beta=1.0), "beta .* below 1; got 1.0"),
        (lambda: ZClip(warmup_steps=0), "warmup_steps must be an integer, at least 1; got 0"),
        (lambda: AdaGN(gamma_2=-0.1), "gamma_2 .* at least 0, below 1; got -0.1"),
        (lambda: ZClip(scope="row"), "scope must be one of 'tensor'; got 'row'"),
    ],
)
def test_bad_arguments_name_the_argument_the_rule_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()
