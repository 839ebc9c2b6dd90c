"""Two sides in turns."""

import statistics

from benchmarks.speed.side import Side

TURN_SECONDS = 2.0  # Of each side's turn, about.
TURNS = 5


def in_turns(ours: Side, theirs: Side, turns: int = TURNS) -> dict[str, list[float]]:
    """Seconds a call of each side, a list over turns that alternate."""
    calls = {}
    for name, side in (("ours", ours), ("theirs", theirs)):
        calls[name] = max(1, round(TURN_SECONDS / side.seconds(1)))
    seconds = {"ours": [], "theirs": []}
    for _ in range(turns):
        seconds["ours"].append(ours.seconds(calls["ours"]))
        seconds["theirs"].append(theirs.seconds(calls["theirs"]))
    return seconds


def compared(seconds: dict[str, list[float]], examples: dict[str, float]) -> dict:
    """Rates and their ratio from seconds a call and examples a call."""
    rates = {side: [examples[side] / s for s in of_side] for side, of_side in seconds.items()}
    ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
    return {
        "ours_examples_per_second": round(statistics.median(rates["ours"])),
        "theirs_examples_per_second": round(statistics.median(rates["theirs"])),
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
        "turns": len(ratios),
    }
