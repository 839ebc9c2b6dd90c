"""What every optimizer of the package promises, whatever its rule."""

import copy
import inspect
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfstable.optimizers as package
from tests.optimizers.cases import HEIGHT, OPTIMIZERS, WIDTH, gradients, make_variables, spoil
from tfstable.optimizers import SGD, Group
from tfstable.optimizers.clipping import Clipping
from tfstable.optimizers.guarded import GuardedOptimizer

EVERY = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)

DEFAULT_NAMES = {
    "SGD": "sgd",
    "AdaX": "adax",
    "Adagrad": "adagrad",
    "Adam": "adam",
    "ClippyAdagrad": "clippy_adagrad",
    "ClippyAdam": "clippy_adam",
    "Composite": "composite",
    "Muon": "muon",
}
XLA_BY_DEFAULT = ("ClippyAdagrad", "AdaX", "Composite")  # compiling takes seconds; the others are marked slow


def exported_subclasses(base):
    return {name for name, c in vars(package).items() if isinstance(c, type) and issubclass(c, base)}


def train(optimizer, variables, steps, jit_compile=None, **kwargs):
    """Applies the steps, eagerly without `jit_compile`. Returns all state."""
    optimizer.build(variables)

    def apply(g):
        optimizer.apply(g, variables)

    if jit_compile is not None:
        apply = tf.function(apply, jit_compile=jit_compile, autograph=False)
    for step in steps:
        apply(gradients(step, **kwargs))
    return [v.numpy() for v in [*variables, *optimizer.variables]]


def test_the_cases_hold_every_optimizer():
    exported = exported_subclasses(keras.optimizers.Optimizer)
    assert set(OPTIMIZERS) == exported == exported & set(package.__all__)
    for name, make in OPTIMIZERS.items():
        assert type(of_case(name, make())).__name__ == name


def of_case(name, made):
    """The optimizer that a case is about: the last group's for a rule that tables cannot have."""
    return made if name == "Composite" or not isinstance(made, package.Composite) else made.optimizers[-1]


GIVEN = {"ClippyAdagrad": {"clipping"}, "ClippyAdam": {"clipping"}, "Composite": {"learning_rate"}}  # By the class.


def arguments(optimizer_class):
    """The arguments of an optimizer, common ones included, with their defaults."""
    bases = [base for base in reversed(optimizer_class.__mro__) if issubclass(base, GuardedOptimizer)]
    found = {n: p for base in bases for n, p in inspect.signature(base.__init__).parameters.items()}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    given = GIVEN.get(optimizer_class.__name__, set())
    return {n: p.default for n, p in found.items() if p.kind in named and n not in given | {"self"}}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_common_arguments_are_keywords_with_one_default(name):
    make, first = getattr(package, name), [Group("dense", SGD(0.1))] if name == "Composite" else 0.1
    for argument in GIVEN.get(name, set()) | {"no_such_argument"}:
        with pytest.raises(TypeError, match=argument):
            make(first, **{argument: None})
    assert make(first).on_nonfinite == "skip"
    assert make(first).name == make(first).name == DEFAULT_NAMES[name]
    for argument, value in {"on_nonfinite": "skip", "name": None, "track_every": 0, "weight_decay": None}.items():
        assert arguments(make).get(argument, value) == value


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_config_holds_every_argument_and_rebuilds_the_optimizer(name):
    optimizer = OPTIMIZERS[name]()
    rule = of_case(name, optimizer)
    config = rule.get_config()
    defaults = arguments(type(rule))
    assert set(config) == set(defaults)
    assert [name for name, value in config.items() if value == defaults[name] and name != "weight_decay"] == []
    serialized = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(copy.deepcopy(serialized))  # Keras writes into what it is given
    assert type(again) is type(optimizer)
    assert keras.optimizers.serialize(again) == serialized
    state, state_again = (train(o, make_variables(), range(4)) for o in (optimizer, again))
    for one, other in zip(state, state_again, strict=True):
        np.testing.assert_array_equal(one, other)


@EVERY
def test_eager_and_graph_agree_bitwise(make):
    eager = train(make(), make_variables(), range(6))
    graph = train(make(), make_variables(), range(6), jit_compile=False)
    for one, other in zip(eager, graph, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "make",
    [pytest.param(m, id=n, marks=() if n in XLA_BY_DEFAULT else pytest.mark.slow) for n, m in OPTIMIZERS.items()],
)
def test_xla_agrees(make):
    """XLA fuses multiplications with additions: one rounding less in each, some 6e-8 relative to the largest term."""
    eager = train(make(), make_variables(), range(6))
    xla = train(make(), make_variables(), range(6), jit_compile=True)
    for one, other in zip(eager, xla, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


OTHER_DTYPES = [
    pytest.param(make, dtype, id=f"{name}-{dtype}", marks=() if short else pytest.mark.slow)
    for name, make in OPTIMIZERS.items()
    for dtype in ("float64", "bfloat16")
    for short in [(name, dtype) in (("ClippyAdagrad", "bfloat16"), ("Composite", "float64"))]
]


@pytest.mark.parametrize(("make", "dtype"), OTHER_DTYPES)
def test_xla_agrees_in_other_dtypes(make, dtype):
    eager, xla = (train(make(), make_variables(dtype), range(6), jit_compile=jit, dtype=dtype) for jit in (None, True))
    for one, other in zip(eager, xla, strict=True):
        # A bfloat16 weight may round the other way once, and the figures in `diagnostics` with it.
        tolerance = 2**-8 if dtype == "bfloat16" else {"float64": 1e-14}.get(one.dtype.name, 2e-6)
        np.testing.assert_allclose(np.float64(other), np.float64(one), rtol=tolerance, atol=tolerance)


@EVERY
def test_bfloat16_variables_are_updated_in_float32(make):
    """Each step starts from weights of eight bits and rounds once: its state and its step are those of float32."""
    low, exact = make_variables("bfloat16"), make_variables()
    optimizer, reference = make(), make()
    optimizer.build(low)
    reference.build(exact)
    for step in range(12):
        g = gradients(step, "bfloat16")
        for variable, start in zip(exact, low, strict=True):
            variable.assign(tf.cast(start.value, tf.float32))
        optimizer.apply(g, low)
        reference.apply([tf.cast(one, tf.float32) for one in g], exact)
        for one, other in zip(low, exact, strict=True):
            assert one.dtype == "bfloat16"
            np.testing.assert_array_equal(one.numpy(), tf.cast(other.value, tf.bfloat16).numpy())
    state = dict(zip((v.path for v in optimizer.variables), reference.variables, strict=True))
    for variable in optimizer.variables:
        assert variable.dtype != "bfloat16"
        np.testing.assert_array_equal(variable.numpy(), state[variable.path].numpy(), err_msg=variable.path)
    assert int(optimizer.skipped_steps.numpy()) == 0


@EVERY
def test_float16_variables_are_refused(make):
    with pytest.raises(ValueError, match=r"variable 'ids' must be float32, float64 or bfloat16.*got float16"):
        make().build(make_variables("float16"))


@EVERY
def test_only_rows_of_the_batch_change(make):
    variables = make_variables()
    before = variables[0].numpy()
    train(make(), variables, [5], jit_compile=False)
    changed = np.any(variables[0].numpy() != before, axis=1)
    assert np.flatnonzero(changed).tolist() == [1, 5, 8]


@EVERY
def test_a_dense_gradient_of_a_table_is_the_sparse_one_over_all_rows(make):
    dense, sparse = make_variables(), make_variables()
    one, other = make(), make()
    one.build(dense)
    other.build(sparse)
    for step in range(4):
        _, kernel, bias = gradients(step)
        g = tf.constant(np.random.default_rng(step).normal(size=(HEIGHT, WIDTH)), tf.float32)
        ids = tf.constant(np.random.default_rng(step).permutation(HEIGHT))
        one.apply([g, kernel, bias], dense)
        other.apply([tf.IndexedSlices(tf.gather(g, ids), ids), kernel, bias], sparse)
    np.testing.assert_allclose(dense[0].numpy(), sparse[0].numpy(), rtol=1e-6, atol=1e-6)


@EVERY
def test_a_bad_gradient_changes_nothing_but_the_counter(make):
    optimizer, clean = make(), make()
    optimizer.on_nonfinite = clean.on_nonfinite = "skip"
    variables, clean_variables = make_variables(), make_variables()
    optimizer.build(variables)
    for step, bads in enumerate([(math.nan, math.inf), (-math.inf,), (1e25, -1e17)]):
        optimizer.apply(gradients(step), variables)
        for bad, place in itertools.product(bads, range(3)):  # in the table, the kernel and the bias
            optimizer.apply(spoil(gradients(step), place, bad), variables)
    assert int(optimizer.skipped_steps.numpy()) == 5 * 3
    assert int(optimizer.iterations.numpy()) == 3
    expected = train(clean, clean_variables, range(3))
    for variable, value in zip([*variables, *optimizer.variables], expected, strict=True):
        if "skipped_steps" not in variable.name:
            np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


@EVERY
@pytest.mark.parametrize("graph", [False, True])
def test_raise_names_the_variable_and_changes_nothing(make, graph):
    optimizer, variables = make(), make_variables()
    before = train(optimizer, variables, range(2))
    g = gradients(2)
    g[1] = g[1] * math.nan

    def apply():
        optimizer.apply(g, variables)

    apply = tf.function(apply, autograph=False) if graph else apply
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)non-finite gradient of.*kernel") as error:
        apply()
    assert "ids" not in str(error.value)
    assert "bias" not in str(error.value)
    assert int(optimizer.skipped_steps.numpy()) == 1
    for variable, value in zip([*variables, *optimizer.variables], before, strict=True):
        if "skipped_steps" not in variable.name:
            np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


@EVERY
def test_checkpoint_resumes_bitwise(make, tmp_path):
    straight = train(make(), make_variables(), range(6))
    optimizer, variables = make(), make_variables()
    train(optimizer, variables, range(3))
    path = tf.train.Checkpoint(variables=variables, optimizer=optimizer).save(str(tmp_path / "c"))
    optimizer, variables = make(), make_variables()
    optimizer.build(variables)
    tf.train.Checkpoint(variables=variables, optimizer=optimizer).restore(path).assert_consumed()
    for one, other in zip(straight, train(optimizer, variables, range(3, 6)), strict=True):
        np.testing.assert_array_equal(one, other)


@EVERY
def test_float64_stays_float64(make):
    state = train(make(), make_variables("float64"), range(3), dtype="float64")
    variables = make_variables("float64")
    for value in state[:3]:
        assert value.dtype == np.float64
    low = train(make(), variables, range(3), dtype="float32")  # gradients of float32 are cast up
    np.testing.assert_allclose(low[1], state[1], rtol=1e-5, atol=1e-5)
    assert np.any(low[1] != state[1])


@EVERY
def test_bfloat16_gradients_are_cast_before_the_rule(make):
    low = train(make(), make_variables(), range(3), dtype="bfloat16")
    optimizer, variables = make(), make_variables()
    optimizer.build(variables)
    for step in range(3):
        optimizer.apply([tf.cast(g, tf.float32) for g in gradients(step, "bfloat16")], variables)
    for one, variable in zip(low, [*variables, *optimizer.variables], strict=True):
        np.testing.assert_array_equal(one, variable.numpy())


@pytest.mark.parametrize("make", [OPTIMIZERS["ClippyAdagrad"], OPTIMIZERS["Composite"]], ids=["preset", "groups"])
def test_fits_a_keras_model(make, tmp_path):
    """`fit` compiles with XLA where it can."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Embedding(HEIGHT, 4), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.build((None, 2))
    model.compile(make(), loss="mse")
    x = np.arange(64).reshape(32, 2) % HEIGHT
    y = (x.sum(axis=1, keepdims=True) % 2).astype("float32")
    losses = model.fit(x, y, epochs=12, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert int(model.optimizer.iterations.numpy()) == 48
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("name", sorted(exported_subclasses(Clipping)))
def test_clippings_survive_serialization(name):
    kind = getattr(package, name)
    clipping = kind(0.125, accumulate="clipped" if kind().accumulate == "raw" else "raw")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(clipping))
    assert again == clipping != getattr(package, name)()
