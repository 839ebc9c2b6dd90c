"""How long a run suffers from a bad batch."""

import numpy as np
import pytest

from trainers.studies.stability.poison import steps_to_recover


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (np.ones(30), 10),  # Ten steps make the median.
        (np.r_[np.full(5, 2.0), np.ones(25)], 11),  # With five bad ones of ten, the median is 1.5.
        (np.r_[np.full(20, 2.0), np.ones(10)], 26),
        (np.full(30, 1.02), None),
        (np.full(30, np.nan), None),
    ],
)
def test_the_median_of_ten_steps_is_within_one_percent(after, expected):
    losses = np.r_[np.ones(5), 1e6, after]
    assert steps_to_recover(losses, np.ones(36), 5) == expected


@pytest.mark.parametrize(("length", "of_healthy"), [(12, 40), (40, 12)])
def test_a_run_that_was_stopped_has_not_recovered(length, of_healthy):
    assert steps_to_recover(np.ones(length), np.ones(of_healthy), 5) is None
