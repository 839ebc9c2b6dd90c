"""The same model on the same batches in each framework, at its fastest honest settings."""

from functools import partial
from pathlib import Path

from benchmarks.speed.side import Side, SideError
from benchmarks.speed.turns import compared, in_turns
from benchmarks.speed.workload import WORKLOADS

# By name: the side, and settings to try, of which the fastest counts.
PEERS = {
    "TFRS 0.7.7 (Keras 2)": ("tfrs_ranking", [{}, {"legacy_optimizer": True}]),
    "Keras 3 fit": ("keras_fit", [{"jit_compile": False}, {"jit_compile": "auto"}]),
    "keras-rs DistributedEmbedding": ("keras_rs_fit", [{"jit_compile": False}, {"jit_compile": "auto"}]),
    "PyTorch": ("torch_sparse", [{}, {"compiled": True}]),
}
STEPS_A_CALL = 10


def cases(raw: Path, work: Path) -> dict:
    found = {f"{workload}, {peer}": partial(measure, workload, peer) for workload in WORKLOADS for peer in PEERS}
    return found | {"large, our float32 to our bfloat16": precision}


def measure(workload_name: str, peer: str) -> dict:
    workload = WORKLOADS[workload_name]
    module, settings = PEERS[peer]
    # A dense update of 26 million rows takes seconds, whatever the number of steps a call.
    per_call = 2 if workload.rows == 10**6 and "keras" in module else STEPS_A_CALL
    if "large" in workload_name:
        per_call = 2
    made = workload.to_dict()
    with Side("ours", workload=made, per_call=per_call) as ours:
        seconds, failed = {}, {}
        for number, options in enumerate(settings):
            try:
                with Side(module, workload=made, per_call=per_call, **options) as theirs:
                    seconds[number] = min(theirs.seconds(1), theirs.seconds(1))
            except SideError as error:
                failed[str(options)] = str(error).strip().splitlines()[-1][:200]
        fastest = settings[min(seconds, key=seconds.get)]
        with Side(module, workload=made, per_call=per_call, **fastest) as theirs:
            result = compared(
                in_turns(ours, theirs), dict.fromkeys(("ours", "theirs"), float(per_call * workload.batch))
            )
            result |= {"ours_peak_mb": round(ours.peak_mb()), "theirs_peak_mb": round(theirs.peak_mb())}
    return result | {"their_settings": fastest} | ({"failed": failed} if failed else {})


def precision() -> dict:
    """Our own float32 beside our mixed_bfloat16."""
    per_call = 2
    sides = [
        Side("ours", workload=WORKLOADS[name].to_dict(), per_call=per_call) for name in ("large, bfloat16", "large")
    ]
    with sides[0] as low, sides[1] as full:
        return compared(
            in_turns(low, full), dict.fromkeys(("ours", "theirs"), float(per_call * WORKLOADS["large"].batch))
        )
