"""Configs: what they mean, and that they come back from their files."""

import json
import math
from pathlib import Path

import pytest

from tests.trainers.config.conftest import GOOD, complaint
from trainers.config import Config, dump, load, weight_keys
from trainers.config.divergence import FORMER
from trainers.studies.reproducibility.config import ReproducibilityConfig
from trainers.studies.stability.config import StabilityConfig


def test_defaults_are_overridden_by_the_file_and_the_file_by_set(path):
    assert load(path).trainer.batch_size == 1024
    assert load(path).trainer.window_days == 1
    path.write_text(GOOD + "trainer: {batch_size: 64, window_days: 3}")
    assert load(path).trainer.batch_size == 64
    config = load(path, ["trainer.batch_size=32", "features.user_id.buckets=7", "model.units=[8, 4]", "data.weight=w"])
    assert config.trainer.batch_size == 32
    assert config.trainer.window_days == 3
    assert config.features["user_id"].buckets == 7
    assert config.model.units == (8, 4)
    assert config.data.weight == "w"
    assert load(path, ["trainer.batch_size=32", "trainer.batch_size=16"]).trainer.batch_size == 16


def test_weights_of_the_score(path):
    assert load(path).score_weights == {"click": 1.0}  # Binary tasks.
    assert load(path, ["tasks.click={kind: regression}"]).score_weights == {"click": 1.0, "time": 1.0}
    assert load(path, ["export.score_weights={time: 0.1}"]).score_weights == {"time": 0.1}


def test_set_takes_yaml_and_makes_sections(path):
    config = load(path, ["features.item={kind: hash, buckets: 9}", "optimizer.dense.learning_rate=1e-3"])
    assert config.features["item"].buckets == 9
    assert config.optimizer.dense.learning_rate == 0.001
    assert load(path, ["optimizer.dense.clipping=null"]).optimizer.dense.clipping is None


def test_what_is_dumped_loads_as_the_same_config(path, tmp_path):
    path.write_text(
        GOOD
        + """
  like: {kind: binary, weight: 10, truth: p_like}
model: {class: my.Model, options: {experts: 4, inner: {a: [1, 2]}}, units: [], tower_units: [8], dropout: 0.1}
optimizer: {dense: {clipping: {kind: clippy, relative: 0.25}}, embeddings: {initial_accumulator: 1.0e-6}}
trainer: {steps: 10, seed: 3, precision: mixed_bfloat16}
evaluation: {gauc_column: user_id}
"""
    )
    config = load(
        path, ["data.simulate={days: 3, first_day: 2025-03-01, shock_days: [1]}", "features.age.clip=[0, .inf]"]
    )
    again = tmp_path / "again.yaml"
    again.write_text(dump(config), encoding="utf-8")
    assert load(again) == config
    assert load(again).features["age"].clip == (0.0, math.inf)
    assert weight_keys(load(again)) == weight_keys(config)


def test_groups_of_variables_are_dumped_without_what_they_replace(path, tmp_path):
    config = load(path, ["optimizer.groups={embeddings: {}, dense: {rule: adam}}"])
    again = tmp_path / "again.yaml"
    again.write_text(dump(config), encoding="utf-8")
    assert load(again) == config


def test_keys_that_do_not_affect_the_weights_are_left_out(path):
    keys = weight_keys(load(path))
    for operational in ("data.path", "data.simulate", "trainer.tensorboard", "trainer.steps_per_call", "export.when"):
        assert operational not in keys
    assert not [key for key in keys if key.startswith(("evaluation.", "export."))]
    for key in ("features.user_id", "tasks.time", "model.class", "model.units", "trainer.batch_size", "trainer.seed"):
        assert key in keys
    assert keys["model.units"] == [256, 256]
    assert keys["features.user_id"]["buckets"] == 1000


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("data.path=elsewhere", []),
        ("trainer.checkpoint_minutes=1", []),
        ("export.when=never", []),
        ("evaluation.gauc_column=user_id", []),
        ("data.simulate.days=3", []),
        ("trainer.seed=1", ["trainer.seed"]),
        ("data.buffer_rows=10", ["data.buffer_rows"]),
        ("features.user_id.buckets=5", ["features.user_id"]),
        ("tasks.click.weight=2", ["tasks.click"]),
        ("optimizer.embeddings.learning_rate=0.5", ["optimizer.embeddings.learning_rate"]),
    ],
)
def test_which_keys_a_change_affects(override, changed, path):
    before, after = weight_keys(load(path)), weight_keys(load(path, [override]))
    assert [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)] == changed


def test_yaml_anchors_and_merges(path):
    path.write_text(GOOD + "model: {units: &units [8], tower_units: *units}")
    assert load(path).model.tower_units == (8,)
    text = GOOD.replace(
        "user_id: {kind: hash, buckets: 1000}",
        "user_id: &id {kind: hash, buckets: 1000}\n  item_id: {<<: *id, buckets: 5}",
    )
    path.write_text(text)
    assert load(path).features["item_id"].buckets == 5


def test_the_schema_describes_every_key():
    schema = Config.model_json_schema()
    json.dumps(schema)
    assert set(schema["required"]) == {"data", "features", "tasks"}
    trainer = schema["$defs"]["TrainerConfig"]["properties"]
    assert trainer["batch_size"]["default"] == 1024
    assert trainer["batch_size"]["description"]
    assert schema["properties"]["features"]["additionalProperties"]["discriminator"]["mapping"].keys() == {
        "hash",
        "counter",
        "vocabulary",
        "quantile",
        "numeric",
        "vector",
        "id",
    }


@pytest.mark.parametrize("recipe", sorted(Path(__file__).parents[3].glob("configs/*.yaml")), ids=lambda p: p.name)
def test_the_recipes_load(recipe, tmp_path):
    kinds = {"stability": StabilityConfig, "reproducibility": ReproducibilityConfig}
    kind = next((kind for name, kind in kinds.items() if recipe.name.startswith(name)), Config)
    config = load(recipe, kind=kind)
    (tmp_path / "again.yaml").write_text(dump(config))
    assert load(tmp_path / "again.yaml", kind=kind) == config


def test_former_keys_of_the_detector_load_with_the_values_that_runs_of_before_have(path):
    """Each params.yaml of before holds all of them."""
    assert load(path, ["divergence={horizon: 50, reach: 4.0, settled: 10, error: 10.0}"]).divergence.horizon == 50
    for key, value in FORMER.items():
        line = f"{path}: divergence: {key} is a constant ({value:g}) since version 0.1.0; remove the key"
        assert complaint(path, f"divergence={{horizon: 50, {key}: 0.3}}") == line
