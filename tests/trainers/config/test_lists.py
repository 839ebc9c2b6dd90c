"""What a config says of groups of rows and losses over them."""

import pytest

from tests.trainers.config.conftest import complaint
from tfstable.errors import InputError
from trainers.config import check_replicas, load

GROUPS, SOFTMAX = "trainer.shuffle={kind: groups, by: user_id}", "tasks.click.loss={kind: softmax}"
WRONG = {
    "rows in any order": (
        [SOFTMAX],
        "tasks.click.loss compares the rows of a group within a batch, but trainer.shuffle is full; set "
        "trainer.shuffle: {kind: groups, by: COLUMN}",
    ),
    "groups by nothing": (["trainer.shuffle={kind: groups}"], "kind: groups and by need each other"),
    "by of another kind": (["trainer.shuffle={kind: full, by: user_id}"], "kind: groups and by need each other"),
    "parts of another kind": (["trainer.shuffle={kind: swaps, parts: 2}"], "only kind: groups has parts"),
    "no such loss": ([GROUPS, "tasks.click.loss={kind: hinge}"], "tasks.click.loss.kind: Input should be 'pairwise', "),
    "no share": ([GROUPS, "tasks.click.loss={kind: softmax, weight: 0}"], "tasks.click.loss.weight: Input should be"),
    "one logit": ([GROUPS, "tasks.click.loss={kind: jrc}"], "set model.class: tfstable.models.JointRanking"),
    "a regression": ([GROUPS, "tasks.time.loss={kind: softmax}"], "tasks.time.loss: unknown key"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named(wrong, path):
    overrides, said = WRONG[wrong]
    assert said in complaint(path, *overrides)


@pytest.mark.parametrize(
    ("size", "parts", "replicas", "parts_needed"),
    [(1024, None, 1, None), (1024, None, 8, None), (1024, None, 16, 16), (100, None, 8, 8), (96, 6, 4, 12)],
)
def test_replicas_that_would_cut_groups_are_refused(size, parts, replicas, parts_needed, path):
    of_parts = [f"trainer.shuffle.parts={parts}"] if parts else []
    config = load(path, [GROUPS, SOFTMAX, f"trainer.batch_size={size}", *of_parts])
    if parts_needed is None:
        check_replicas(config.tasks, config.trainer, replicas)
        return
    with pytest.raises(InputError, match=f"{replicas} replicas would cut groups.* such as {parts_needed} parts"):
        check_replicas(config.tasks, config.trainer, replicas)
    plain = load(path, [GROUPS, f"trainer.batch_size={size}", *of_parts])
    check_replicas(plain.tasks, plain.trainer, replicas)  # Only losses over lists depend on it.
