"""The detector is a function of the losses alone: of any losses, in any blocks, through any number of restarts."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.config.divergence import DivergenceConfig
from trainers.health.detector import Detector, Finding

RULES = DivergenceConfig(horizon=12, patience=10)
TASKS = ("click", "watch_time")
ODD = st.sampled_from([0.0, 3.0, 50.0, 1e30, -2.0, float("nan"), float("inf")])


@st.composite
def losses(draw) -> np.ndarray:
    """A healthy curve of the total and two tasks, `(steps, 3)`, with stretches that are odd in some columns."""
    steps = draw(st.integers(1, 90))
    rows = np.random.default_rng(draw(st.integers(0, 99))).lognormal(0, 0.05, (steps, 1 + len(TASKS)))
    stretches = st.tuples(st.integers(0, steps - 1), st.integers(1, 25), st.integers(0, len(TASKS)), ODD)
    for first, length, column, value in draw(st.lists(stretches, max_size=5)):
        rows[first : first + length, column] = value
    return rows


def shown(findings: list[Finding]) -> list[str]:
    return [repr(finding) for finding in findings]  # Equal where both are NaN, too.


@settings(max_examples=100)
@given(losses(), st.lists(st.integers(0, 90), max_size=8), st.integers(0, 10_000))
def test_blocks_and_restarts_change_nothing(rows, cuts, first_step):
    whole = Detector(RULES, TASKS)
    expected = shown(whole.update(rows, first_step))
    blocks, restarted = Detector(RULES, TASKS), Detector(RULES, TASKS)
    in_blocks, after_restarts, step = [], [], first_step
    for block in np.split(rows, sorted(cuts)):
        in_blocks += shown(blocks.update(block, step))
        restarted = Detector.restored(RULES, TASKS, json.loads(json.dumps(restarted.state(), allow_nan=False)))
        after_restarts += shown(restarted.update(block, step))
        assert restarted.jumped_at == blocks.jumped_at
        step += len(block)
    assert in_blocks == expected
    assert after_restarts == expected
    assert restarted.state() == blocks.state() == whole.state()


@settings(max_examples=100)
@given(losses())
def test_findings_come_in_order_and_each_names_steps_that_were_there(rows):
    detector, last = Detector(RULES, TASKS), -1
    for step in range(len(rows)):
        for finding in detector.update(rows[step : step + 1], step):
            assert finding.column in ("loss", *TASKS)
            assert 0 <= finding.first_step <= finding.last_step <= step
            last = step
    assert last < len(rows)
    if detector.jumped_at is not None:
        assert 0 <= detector.jumped_at < len(rows)
