"""A finding: what is wrong, since when, and which key mends it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Finding:
    """Something wrong with a run or its log.

    Attributes:
        rule: The rule's name, such as "constant feature".
        subject: What it is about: a config key such as "features.duration_s", a layer, a table.
        line: What is wrong, with figures.
        remedy: What mends it.
        first, last: First and last day of it; None for the weights as they are now.
        now: Whether it holds on the newest day.
    """

    rule: str
    subject: str
    line: str
    remedy: str
    first: date | None = None
    last: date | None = None
    now: bool = True


def span(days: Sequence[date], holds: Callable[[date], bool]) -> tuple[date, date, bool] | None:
    """Returns first and last day of the newest run of days on which a rule holds, and whether the newest is among them.

    Args:
        days: The days judged, in order.
        holds: The rule.
    """
    held = [holds(day) for day in days]
    if not any(held):
        return None
    last = len(held) - 1 - held[::-1].index(True)
    first = last
    while first and held[first - 1]:
        first -= 1
    return days[first], days[last], last == len(days) - 1


def since(found: tuple[date, date, bool]) -> str:
    """Says when: "since 2025-01-04", or "on 2025-01-04", or "from 2025-01-04 to 2025-01-06" for what has passed."""
    first, last, now = found
    if now:
        return f"since {first}" if first != last else f"on {last}"
    return f"on {last}, not later" if first == last else f"from {first} to {last}, not later"
