"""The config's optimizer section becomes the optimizer that it says."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from tfstable.optimizers import (
    AdaGC,
    AdaGN,
    AdaptiveGradient,
    Clippy,
    ClippyAdagrad,
    Ema,
    GradientNorm,
    Swa,
    TrustRatio,
    WarmupDecay,
    ZClip,
)
from trainers.build.optimizer import make_optimizer
from trainers.config.optimizer import OptimizerConfig


def make(*variables, **section):
    return make_optimizer(OptimizerConfig.model_validate(section), 512, variables)


def test_defaults_are_clippy_adagrad_on_dense_variables_and_adagrad_on_tables():
    embeddings, dense = make().groups
    assert (embeddings.variables, dense.variables) == ("embeddings", "dense")
    assert embeddings.optimizer.clipping is None
    assert embeddings.optimizer.initial_accumulator == 2**-18  # (1 / 512)^2
    assert dense.optimizer.clipping == Clippy(relative=0.5, absolute=0.01)
    assert dense.optimizer.initial_accumulator == 0.1


def test_another_rate_keeps_clippy_and_null_switches_it_off():
    assert make(dense={"learning_rate": 0.5}).groups[1].optimizer.clipping == Clippy()
    assert make(dense={"clipping": None}).groups[1].optimizer.clipping is None
    assert make(groups={"embeddings": {}, "dense": {}}).groups[1].optimizer.clipping is None


@pytest.mark.parametrize("rule", ["adagrad", "adam", "sgd", "adax"])
@pytest.mark.parametrize(
    ("clipping", "expected"),
    [
        (None, None),
        ({"kind": "clippy", "absolute": 0.1, "scope": "element"}, Clippy(0.5, 0.1, scope="element")),
        ({"kind": "gradient_norm", "threshold": 0.5}, GradientNorm(0.5)),
        ({"kind": "adaptive_gradient", "floor": 0.1}, AdaptiveGradient(1e-2, 0.1)),
        ({"kind": "trust_ratio", "mu": 0.1}, TrustRatio(0.1)),
    ],
)
def test_any_rule_with_any_clipping(rule, clipping, expected):
    optimizer = make(dense={"rule": rule, "clipping": clipping, "weight_decay": 0.01}).groups[1].optimizer
    assert type(optimizer).__name__.lower() == rule
    assert optimizer.clipping == expected
    assert optimizer.weight_decay == 0.01


def test_keys_reach_the_rule_that_has_them():
    assert make(dense={"rule": "sgd", "momentum": 0.9}).groups[1].optimizer.momentum == 0.9
    assert make(embeddings={"initial_accumulator": 1e-6}).groups[0].optimizer.initial_accumulator == 1e-6
    embeddings, dense = make(embeddings={"forget": 0.7}).groups
    assert (embeddings.optimizer.forget, dense.optimizer.forget) == (0.7, 1.0)
    assert make(dense={"rule": "adam", "beta_2": 0.99}).groups[1].optimizer.beta_2 == 0.99
    assert make(dense={"rule": "muon", "momentum": 0.8}).groups[1].optimizer.momentum == 0.8
    with pytest.raises(ValidationError, match=r"embeddings\.rule: muon is for dense variables"):
        make(embeddings={"rule": "muon"})
    with pytest.raises(ValidationError, match="rule adagrad has no key momentum"):
        make(dense={"momentum": 0.9})


def test_clippy_with_keys_of_the_sum_of_squares_is_clippy_adagrad():
    keys = {"kind": "clippy", "relative": 0.1, "absolute": 1e-7, "scope": "row"}
    made = make(dense={"clipping": keys | {"delayed_accumulator": True, "clip_accumulator": True}}).groups[1].optimizer
    expected = ClippyAdagrad(0.05, 0.1, 1e-7, delayed_accumulator=True, clip_accumulator_update=True, scope="row")
    assert made.get_config() == expected.get_config() | {"name": made.name}
    assert make(dense={"clipping": keys | {"accumulator_relative": 1e-4}}).groups[1].optimizer.get_config()[
        "accumulator_relative_threshold"
    ] == pytest.approx(1e-4)
    for same in ({"clip_accumulator": True}, {"accumulate": "clipped", "accumulator_relative": 1e-4}):
        assert make(dense={"clipping": keys | same}).groups[1].optimizer.clip_accumulator_update
    assert make(dense={"clipping": keys | {"accumulate": "clipped"}}).groups[1].optimizer.clipping == Clippy(
        0.1, 1e-7, scope="row", accumulate="clipped"
    )
    with pytest.raises(ValidationError, match="are for rule: adagrad, not for adam"):
        make(dense={"rule": "adam", "clipping": keys | {"delayed_accumulator": True}})


@pytest.mark.parametrize(
    ("keys", "clipping"),
    [
        ({"kind": "adagc", "relative": 1.5, "beta": 0.9, "warmup_steps": 7}, AdaGC(1.5, 1.0, 0.9, 7)),
        ({"kind": "zclip", "threshold": 3, "accumulate": "raw"}, ZClip(3, accumulate="raw")),
        ({"kind": "adagn"}, AdaGN()),
    ],
)
def test_clippings_of_norms(keys, clipping):
    made = make(dense={"clipping": keys}).groups[1].optimizer.clipping
    assert made == clipping


def test_groups_by_pattern():
    first, second, third = make(groups={"embeddings": {}, "bottom/": {"rule": "adam"}, "output_": {}}).groups
    assert [group.variables for group in (first, second, third)] == ["embeddings", "bottom/", "output_"]
    with pytest.raises(ValidationError, match="groups replaces dense and embeddings"):
        make(groups={"a": {}}, dense={})
    with pytest.raises(ValidationError, match="not a regular expression"):
        make(groups={"(": {}})
    with pytest.raises(ValidationError, match=r"embeddings\.weight_decay would update every row"):
        make(embeddings={"weight_decay": 0.1})


def test_adagrad_starts_low_in_groups_of_tables_alone():
    is_table = {"users": True, "videos": True, "wide": True, "wide/bias": False}
    variables = [SimpleNamespace(name=n, path=f"model/{n}", is_embedding_table=is_table[n]) for n in is_table]
    groups = {"users|videos": {}, "wide": {}}
    assert [g.optimizer.initial_accumulator for g in make(*variables, groups=groups).groups] == [2**-18, 0.1]
    groups = {"embeddings": {"initial_accumulator": 0.5}, "dense": {}}
    assert [g.optimizer.initial_accumulator for g in make(*variables, groups=groups).groups] == [0.5, 0.1]
    assert not hasattr(make(*variables, groups={"users": {"rule": "adam"}}).groups[0].optimizer, "initial_accumulator")


def test_schedule_from_the_config():
    schedule = {"warmup_steps": 10, "decay": "cosine", "decay_steps": 100}
    optimizer = make(dense={"learning_rate": 0.2, "schedule": schedule}).groups[1].optimizer
    optimizer.build([keras.Variable(np.zeros(1))])
    assert float(optimizer.learning_rate) == pytest.approx(0.02)  # 0.2 * 1 / 10
    with pytest.raises(ValidationError, match="decay and decay_steps need each other"):
        make(dense={"schedule": {"decay": "cosine"}})


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        ("none", 0, 0.25),  # (0 + 1) / 4
        ("none", 2, 0.75),
        ("none", 1000, 1.0),
        ("cosine", 4, 1.0),
        ("cosine", 54, 0.5),  # half of the 100 steps behind the warm-up's 4
        ("cosine", 500, 0.0),
        ("inverse_sqrt", 304, 0.5),  # 1 / sqrt(1 + 300 / 100)
    ],
)
def test_warmup_and_decay_follow_their_formula(decay, step, expected):
    schedule = WarmupDecay(2.0, warmup_steps=4, decay=decay, decay_steps=100)
    assert float(schedule(step)) == pytest.approx(2.0 * expected, abs=1e-6)
    again = WarmupDecay.from_config(schedule.get_config())
    assert math.isclose(float(again(step)), float(schedule(step)))


def test_averaging_from_the_config():
    def average(**section):
        return make_optimizer(OptimizerConfig.model_validate({"averaging": section}), 512).averaging

    assert make().averaging is None
    assert isinstance(average(kind="ema", horizon_steps=100), Ema)
    assert average(kind="ema", horizon_steps=100).horizon == 100
    assert average(kind="ema", horizon_examples=10_000).horizon == 20  # 19.5 batches of 512
    assert average(kind="ema", horizon_examples=10).horizon == 2
    assert isinstance(average(kind="swa"), Swa)
    assert average(kind="swa", horizon_windows=5).horizon == 5
    for section in ({}, {"horizon_steps": 5, "horizon_examples": 5}):
        with pytest.raises(ValidationError, match="give one of horizon_steps and horizon_examples"):
            average(kind="ema", **section)
