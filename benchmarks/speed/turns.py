"""Two sides in turns."""

import statistics

from benchmarks.speed.side import Side

TURN_SECONDS = 1.5  # Of each side's turn, about.
TURNS, MOST_TURNS = 5, 15
STEADY = 0.04  # Turns go on, up to the most, while the middle half of the ratios is wider than this.


def in_turns(ours: Side, theirs: Side) -> dict:
    """Examples a second of two sides that take turns, and how many times as many ours are, with its range."""
    sides = {"ours": ours, "theirs": theirs}
    calls = {name: max(1, round(TURN_SECONDS / side.seconds(1))) for name, side in sides.items()}
    rates, ratios = {name: [] for name in sides}, []
    while len(ratios) < TURNS or (len(ratios) < MOST_TURNS and _middle_half(ratios) > STEADY):
        for name, side in sides.items():
            rates[name].append(side.rate(calls[name]))
        ratios.append(rates["ours"][-1] / rates["theirs"][-1])
    return {
        "ours_examples_per_second": round(statistics.median(rates["ours"])),
        "theirs_examples_per_second": round(statistics.median(rates["theirs"])),
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
        "turns": len(ratios),
    }


def _middle_half(ratios: list[float]) -> float:
    """From the first to the third quartile, in parts of the median."""
    first, median, third = statistics.quantiles(ratios, n=4, method="inclusive")
    return (third - first) / median
