"""Which checkpoints stay, and which number a new one gets."""

from datetime import date, timedelta

import tensorflow as tf

from trainers.store.checkpoints import Checkpoints

MONDAY = date(2025, 1, 6)


def saved(tmp_path, **policy) -> tuple[Checkpoints, tf.Variable]:
    variable = tf.Variable(0)
    return Checkpoints(tmp_path, tf.train.Checkpoint(variable=variable), **policy), variable


def test_the_newest_the_last_good_one_and_one_a_week_stay(tmp_path):
    checkpoints, _ = saved(tmp_path, keep=2, keep_weekly=2)
    for day in range(17):  # Two weeks and three days: 1 to 7, 8 to 14, 15 to 17.
        made = checkpoints.save(MONDAY + timedelta(day), 0, {})
        if day == 3:
            checkpoints.mark_good(made)
    # 16 and 17 are the newest; 14 ends the week before theirs, 17 is the last of its own; 4 is good.
    assert [each.number for each in checkpoints.all()] == [4, 14, 16, 17]
    assert checkpoints.known_good().number == 4


def test_inside_a_window_nothing_counts_for_its_week(tmp_path):
    checkpoints, _ = saved(tmp_path, keep=1, keep_weekly=1)
    checkpoints.save(MONDAY, 0, {})
    checkpoints.save(MONDAY, 5, {})
    assert [each.number for each in checkpoints.all()] == [1, 2]


def test_discarded_numbers_are_not_given_again(tmp_path):
    checkpoints, variable = saved(tmp_path, keep=9)
    for value in range(4):
        variable.assign(value)
        checkpoints.save(MONDAY, value, {})
    checkpoints.discard(2, 4)
    assert [each.number for each in checkpoints.all()] == [1, 2]
    assert [path.name for path in tmp_path.glob("*.diverged")] == ["4.diverged"]
    assert checkpoints.restore(lambda *_: None).number == 2
    assert variable.numpy() == 1
    assert checkpoints.save(MONDAY, 9, {}).number == 5
