"""Two sides in turns."""

import statistics

from benchmarks.speed.side import Side

TURN_SECONDS = 1.5  # Of each side's turn, about.
TURNS = 5


def in_turns(ours: Side, theirs: Side, turns: int = TURNS) -> dict:
    """Examples a second of two sides that take turns, and how many times as many ours are, with its range."""
    sides = {"ours": ours, "theirs": theirs}
    calls = {name: max(1, round(TURN_SECONDS / side.seconds(1))) for name, side in sides.items()}
    rates = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            rates[name].append(side.rate(calls[name]))
    ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
    return {
        "ours_examples_per_second": round(statistics.median(rates["ours"])),
        "theirs_examples_per_second": round(statistics.median(rates["theirs"])),
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
        "turns": turns,
    }
