"""Sides that take turns within one run, and the ratios of their times."""

import statistics
import time


def measure(sides, turns, steps):
    """Seconds a step of each side, a list over turns; `sides` maps names to functions of no argument."""
    for run in sides.values():
        run(), run()  # traces, allocates, fills caches
    seconds = {name: [] for name in sides}
    for _ in range(turns):
        for name, run in sides.items():
            start = time.perf_counter()
            for _ in range(steps):
                run()
            seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def ratio(seconds, numerator, denominator):
    """How many times as long one side takes: the median over turns, its quartiles, and that of the fastest turns."""
    turns = sorted(a / b for a, b in zip(seconds[numerator], seconds[denominator], strict=True))
    low, middle, high = statistics.quantiles(turns, n=4)
    fastest = min(seconds[numerator]) / min(seconds[denominator])
    return {"ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)], "fastest": round(fastest, 3)}


def milliseconds(seconds):
    return {name: round(1e3 * statistics.median(turns), 3) for name, turns in seconds.items()}
