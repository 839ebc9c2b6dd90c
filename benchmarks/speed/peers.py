"""The same model on the same batches in each framework, at its fastest honest settings."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.speed.side import Side, SideError
from benchmarks.speed.turns import in_turns
from benchmarks.speed.workload import WORKLOADS, Workload

# By name: the side, and settings to try, of which the fastest counts.
PEERS = {
    "TFRS 0.7.7 (Keras 2)": ("tfrs_ranking", [{}, {"legacy_optimizer": True}]),
    "Keras 3 fit": ("keras_fit", [{"jit_compile": False}, {"jit_compile": "auto"}]),
    "keras-rs DistributedEmbedding": ("keras_rs_fit", [{"jit_compile": False}, {"jit_compile": "auto"}]),
    "PyTorch": ("torch_sparse", [{}, {"compiled": True}]),
}


def cases(raw: Path, work: Path) -> dict:
    found = {f"{workload}: {peer}": partial(measure, workload, peer) for workload in WORKLOADS for peer in PEERS}
    return found | {"large: our bfloat16 to our float32": precision}


def measure(workload_name: str, peer: str) -> dict:
    workload, (module, settings) = WORKLOADS[workload_name], PEERS[peer]
    # A dense update of 26 million rows takes seconds: two steps of it are a long call.
    made = arguments(workload, 2 if workload.rows == 10**6 and "keras" in module else None)
    fastest, seconds, failed = None, {}, {}
    with ExitStack() as stack:
        ours = stack.enter_context(Side("ours", **made))
        for options in settings:
            try:
                side = stack.enter_context(Side(module, **made, **options))
            except SideError as error:
                failed[str(options)] = str(error).strip().splitlines()[-1][:200]
                continue
            seconds[side] = min(side.seconds(1), side.seconds(1))
            if fastest is None or seconds[side] < seconds[fastest[0]]:
                side, fastest = fastest and fastest[0], (side, options)
            if side:
                side.stop()  # Its tables leave the memory.
        result = in_turns(ours, fastest[0])
        result |= {"ours_peak_mb": round(ours.peak_mb()), "theirs_peak_mb": round(fastest[0].peak_mb())}
    return result | {"their_settings": fastest[1]} | ({"failed": failed} if failed else {})


def precision() -> dict:
    low, full = (arguments(WORKLOADS[name]) for name in ("large, bfloat16", "large"))
    with Side("ours", **low) as ours, Side("ours", **full) as theirs:
        return in_turns(ours, theirs)


def arguments(workload: Workload, per_call: int | None = None) -> dict:
    """Of a side that trains a workload: a call of half a second or so."""
    return {"workload": workload.to_dict(), "per_call": per_call or (2 if workload.units[0] > 1000 else 10)}
