"""Which keys a running model takes, and which it refuses."""

import pytest

from tests.trainers.runs import load
from trainers.config import When, changes, window_keys, with_window_keys


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return load(tmp_path_factory.mktemp("changes") / "log")


@pytest.mark.parametrize(
    ("override", "key", "when"),
    [
        ("optimizer.dense.learning_rate=1", "optimizer.dense.learning_rate", When.NOW),
        ("optimizer.dense.schedule.warmup_steps=5", "optimizer.dense.schedule.warmup_steps", When.NOW),
        ("optimizer.dense.clipping={kind: gradient_norm}", "optimizer.dense.clipping.kind", When.NOW),
        ("optimizer.dense.clipping={kind: zclip}", "optimizer.dense.clipping.kind", When.NEVER),
        ("optimizer.dense.weight_decay=0.1", "optimizer.dense.weight_decay", When.NOW),
        ("tasks.click.weight=2", "tasks.click.weight", When.NOW),
        ("tasks.click.calibrate={knots: 9}", "tasks.click.calibrate.half_life_days", When.NOW),
        ("features.user_id.rate=2", "features.user_id.rate", When.NOW),
        ("trainer.passes=2", "trainer.passes", When.WINDOW_END),
        ("trainer.shuffle={kind: swaps}", "trainer.shuffle.kind", When.WINDOW_END),
        ("divergence.jump=3", "divergence.jump", When.OPERATIONAL),
        ("data.until=2025-01-03", "data.until", When.OPERATIONAL),
        ("optimizer.dense.rule=adam", "optimizer.dense.rule", When.NEVER),
        ("optimizer.averaging={kind: swa}", "optimizer.averaging.kind", When.NEVER),
        ("features.user_id.buckets=501", "features.user_id.buckets", When.NEVER),
        ("features.user_id={kind: vocabulary}", "features.user_id", When.NEVER),
        ("features.new={kind: numeric}", "features.new", When.NEVER),
        ("tasks.new={kind: binary}", "tasks.new", When.NEVER),
        ("model.units=[8]", "model.units", When.NEVER),
        ("trainer.window_days=3", "trainer.window_days", When.NEVER),
    ],
)
def test_each_key_has_its_time(before, override, key, when):
    found = {change.key: change.when for change in changes(before, load(before.data.path, override))}
    assert found[key] is when
    assert not any(other.startswith(f"{key}.") for other in found)  # A whole feature is one change.


def test_momentum_changes_while_there_is_a_velocity(before):
    def sgd(momentum):
        return load(before.data.path, f"optimizer.dense={{rule: sgd, clipping: null, momentum: {momentum}}}")

    assert [change.when for change in changes(sgd(0.9), sgd(0.8))] == [When.NOW]
    assert [change.when for change in changes(sgd(0), sgd(0.8))] == [When.NEVER]


def test_what_follows_from_the_size_of_a_batch_is_a_change_too(before):
    given = ("optimizer.embeddings.initial_accumulator=null", "optimizer.averaging={kind: ema, horizon_examples: 5120}")
    found = changes(load(before.data.path, *given), load(before.data.path, *given, "trainer.batch_size=512"))
    assert [(change.key, change.before, change.now) for change in found] == [
        ("optimizer.averaging.horizon_steps", 20, 10),
        ("optimizer.embeddings.initial_accumulator", 1 / 256**2, 1 / 512**2),
        ("trainer.batch_size", 256, 512),
    ]


def test_a_begun_window_gets_back_its_keys(before):
    after = load(before.data.path, "trainer.batch_size=512", "trainer.steps=3", "optimizer.dense.learning_rate=1")
    again = with_window_keys(after, window_keys(before))
    assert window_keys(again) == window_keys(before) != window_keys(after)
    assert again.optimizer == after.optimizer
    assert with_window_keys(before, window_keys(before)) is before
