"""How close a step comes to the machine's limit, and where the rest of its time goes."""

from functools import partial
from pathlib import Path

from benchmarks.speed.peers import arguments
from benchmarks.speed.side import Side
from benchmarks.speed.turns import in_turns
from benchmarks.speed.workload import WORKLOADS

# Heads with the losses; the update with the sums over duplicate rows and the finite flag before it.
PARTS = ("input", "gather", "bottom", "heads", "backward", "update")


def cases(raw: Path, work: Path) -> dict:
    found = {f"share of matrix products: {name}": partial(share, name) for name in WORKLOADS}
    return found | {f"parts: {name}": partial(parts, name) for name in WORKLOADS if name.startswith("small")}


def share(name: str) -> dict:
    """The whole step beside its matrix products alone, which it cannot beat."""
    workload = WORKLOADS[name]
    made = arguments(workload)
    with Side("ours", **made) as ours, Side("products", **made) as products:
        found = in_turns(ours, products)
    rate = found["theirs_examples_per_second"] * 2 * workload.multiplications / 1e9
    return {
        "share": found["ratio"],
        "range": found["range"],
        "products_gflop_per_second": round(rate),
        "examples_per_second": found["ours_examples_per_second"],
    }


def parts(name: str) -> dict:
    """Milliseconds of a step that is cut off after each of its parts, and what each adds."""
    best, before, found = {}, 0.0, {}
    for part in PARTS:  # One after the other: five times the tables of 10^6 rows are more than the memory.
        with Side("cut_off", workload=WORKLOADS[name].to_dict(), per_call=10, after=part) as side:
            best[part] = min(100 * side.seconds(1) for _ in range(5))  # Of 10 steps, in ms a step.
    for part, milliseconds in best.items():
        found[part] = {"until_ms": round(milliseconds, 2), "adds_ms": round(milliseconds - before, 2)}
        before = milliseconds
    return found
