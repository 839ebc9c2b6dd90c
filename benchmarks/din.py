"""A train step of DIN, 50 positions of two ids, beside the same model in PyTorch.

    make bench-din         (python -m benchmarks.din; 3 minutes on 2 cores)

Two ids of 16 elements per event, a scoring MLP of 64, a bottom of 200 and 80, batches of 4096, Adagrad on all weights,
float32, one thread each, for PyTorch's threads wait for each other and lose most where something else runs. The sides
take turns. PyTorch runs in its published form, and with our sums in place of the concatenation, each
eager and compiled; a ratio is our examples per second over theirs. Expected: at least 1 over the fastest of them.
Writes benchmarks/results/din.json.
"""

import json
import os
from contextlib import ExitStack
from pathlib import Path

from benchmarks.speed.machine import machine
from benchmarks.speed.side import Side, SideError
from benchmarks.speed.turns import in_turns

RESULTS = Path(__file__).parent / "results" / "din.json"
PEERS = {
    "as published": {},
    "as published, compiled": {"compiled": True},
    "our sums": {"split": True},
    "our sums, compiled": {"split": True, "compiled": True},
}
ARGUMENTS = {"batch": 4096, "per_call": 1}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def main():
    os.environ.update(ONE_THREAD)  # The sides inherit it.
    found = {"machine": machine(), "pytorch": {}}
    with ExitStack() as stack:
        ours = stack.enter_context(Side("din_ours", **ARGUMENTS))
        for name, options in PEERS.items():
            try:
                with Side("din_torch", **ARGUMENTS, **options) as theirs:
                    found["pytorch"][name] = in_turns(ours, theirs)
            except SideError as error:
                found["pytorch"][name] = {"failed": str(error).strip().splitlines()[-1][:200]}
            RESULTS.write_text(json.dumps(found, indent=2) + "\n")
            print(name, json.dumps(found["pytorch"][name]), flush=True)


if __name__ == "__main__":
    main()
