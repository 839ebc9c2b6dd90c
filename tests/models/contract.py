"""What the tests of Keras's contract share: which models take which case, and what is the same."""

import numpy as np
import pytest

from tests.models.cases import LABELS, WEIGHTS
from tests.models.compiled import Own
from tfstable.models import Committee, RankingModel

ROWS = len(WEIGHTS)
KNOWN = {name: np.nan_to_num(value) for name, value in LABELS.items()}


def long(*parameters):
    """A case of the long suite."""
    return pytest.param(*parameters, marks=pytest.mark.slow)


# The subclass has all that the others have, so it alone is in the short suite where a case takes seconds.
every_model = pytest.mark.parametrize("model_class", [RankingModel, Own, Committee])
mostly_own = pytest.mark.parametrize("model_class", [Own, long(RankingModel), long(Committee)])


def assert_same(one, other):
    for ours, theirs in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    for ours, theirs in zip(one.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def part(start, stop, by_name):
    return {name: value[start:stop].copy() for name, value in by_name.items()}
