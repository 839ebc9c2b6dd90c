"""Weights of tfstable as functions of variables of TFRS, which turn variables and optimizer slots alike."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Arrays = list[np.ndarray]


class Weight(NamedTuple):
    """A weight of our model.

    Attributes:
        variables: The variables of TFRS that it is made from; none: it starts at zeros.
        shape: Its shape.
        turn: Makes it, or its slot, from the variables, or their slots.
        plus: What is added to the weight, but not to its slot.
    """

    variables: tuple[int, ...]
    shape: tuple[int, ...]
    turn: Callable[[Arrays], np.ndarray] = lambda arrays: arrays[0]
    plus: np.ndarray | float = 0.0
