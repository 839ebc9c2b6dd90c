"""RankingOptions through the model's constructor, and that the config has the same."""

import json
import re

import pytest

from tests.models.test_ranking import FEATURES, STATISTICS, TASKS, build
from tfstable.models import Committee, RankingModel
from tfstable.options import RankingOptions
from trainers.config import ModelConfig


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"input_normalisation": "batch"}, "RankingModel: input_normalisation: Input should be 'features', 'layer' or"),
        ({"units": (8, 0)}, "RankingModel: units.1: Input should be greater than or equal to 1, got 0"),
        ({"beta": 0.0}, "RankingModel: beta: Input should be greater than 0, got 0.0"),
        (
            {"bottom": {"kind": "mmoe", "experts": 1}},
            "RankingModel: bottom.mmoe.experts: Input should be greater than or",
        ),
        ({"cross_experts": 2}, "RankingModel: cross_experts=2 needs a cross_rank: experts are of low rank"),
        ({"cross_arrangement": "parallel"}, "RankingModel: cross_arrangement=parallel needs a cross_depth of at least"),
    ],
)
def test_an_option_outside_its_domain_is_named(options, expected):
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        build(**options)


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match=r"^RankingModel: unknown argument crossdepth; did you mean cross_depth"):
        build(crossdepth=1)
    with pytest.raises(TypeError, match=r"^Committee: unknown argument gates; the options are cross_depth, "):
        build(Committee, gates=1)


def test_every_option_is_in_the_model_and_in_its_config():
    options = {
        "cross_depth": 1,
        "cross_rank": 2,
        "cross_experts": 2,
        "cross_arrangement": "parallel",
        "input_normalisation": "layer",
        "units": (8, 4),
        "bottom": {"kind": "ple", "levels": 2, "units": (8, 4)},
        "activation": "smelu",
        "beta": 0.5,
        "slope_below": 0.25,
        "activation_clip": 3.0,
        "kernel_initializer": "orthogonal",
        "hidden_normalisation": True,
        "normalisation_epsilon": 1e-6,
        "rezero": True,
        "task_gradient_limit": 2.0,
        "dropout": 0.1,
        "logit_penalty": 1e-4,
        "penalty": {"kind": "fgm", "epsilon": 0.5},
        "tower_units": (4,),
        "wide": True,
        "stack_tables": False,
        "loss_weights": "famo",
        "sequences": {"tagged": {"features": ("tags",), "query": ("user",), "units": (4,)}},
    }
    assert options.keys() == RankingOptions.model_fields.keys()
    assert not [name for name, value in RankingOptions() if value == getattr(RankingOptions(**options), name)]
    model = build(**options)
    again = RankingModel.from_config(json.loads(json.dumps(model.get_config())))
    assert again.options == model.options == RankingOptions(**options)
    model.build()
    again.build()
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]


def test_the_config_takes_its_keys_from_the_options():
    for name, field in RankingOptions.model_fields.items():
        assert ModelConfig.model_fields[name].get_default(
            call_default_factory=True, validated_data={}
        ) == field.get_default(call_default_factory=True, validated_data={})
        assert ModelConfig.model_fields[name].description == field.description
    assert ModelConfig().arguments == RankingOptions().model_dump()


def test_a_committee_has_the_defaults_of_the_model():
    assert Committee(FEATURES, TASKS, STATISTICS, members=2).options == RankingOptions()
