"""Checks of constructor arguments."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def check_number(
    argument: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Raises a ValueError naming argument, rule and value unless `value` is a finite number in the domain.

    Args:
        argument: Name of the argument, for the error.
        value: The argument's value.
        above: The value must be greater than this.
        least: The value must be this or greater.
        most: The value must be this or less.
        below: The value must be less than this.
        whole: The value must be an integer.
    """
    rules = ["an integer" if whole else "a finite number"]
    holds = isinstance(value, Integral if whole else Real) and not isinstance(value, bool) and math.isfinite(value)
    if above is not None:
        rules.append(f"above {above}")
        holds = holds and value > above
    if least is not None:
        rules.append(f"at least {least}")
        holds = holds and value >= least
    if most is not None:
        rules.append(f"at most {most}")
        holds = holds and value <= most
    if below is not None:
        rules.append(f"below {below}")
        holds = holds and value < below
    if not holds:
        raise ValueError(f"{argument} must be {', '.join(rules)}; got {value!r}.")


def check_choice(argument: str, value: Any, choices: Sequence[str]) -> None:
    """Raises a ValueError naming argument, choices and value unless `value` is one of the choices."""
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, choices))}; got {value!r}.")
