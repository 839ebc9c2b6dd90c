"""The cost of an optimizer step, as ratios measured in one run.

    pip install -e '.[peers]'
    python -m benchmarks.optimizers      # about 6 minutes on 2 cores, 6 GB; writes benchmarks/results/optimizers.json

The sides of each ratio take turns within the run, so that other load on the machine affects both. A ratio is the median
over the turns with its quartiles; a second ratio, of the fastest turns, is affected least by other load. TFRS and Keras
2 run in the same process: TF_USE_LEGACY_KERAS=1 leaves `import keras` at Keras 3.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import keras
import tensorflow as tf
import tf_keras

from benchmarks.optimizers.cost import averaging, by_height, by_peer, dense, memory
from benchmarks.optimizers.quadratic import quadratic
from benchmarks.optimizers.zeros import zeros

RESULTS = Path(__file__).parents[1] / "results"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "optimizers.json")
    parser.add_argument(
        "--only", choices=["memory", "by_height", "averaging", "by_peer", "dense", "zeros", "quadratic"]
    )
    arguments = parser.parse_args()
    parts = [memory, by_height, averaging, by_peer, dense, zeros, quadratic]
    result = {
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()[0]},
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "tf_keras": tf_keras.__version__},
    }
    for part in parts:
        if arguments.only in (None, part.__name__):
            result[part.__name__] = part()
            print(part.__name__, json.dumps(result[part.__name__], indent=2), flush=True)
            keras.backend.clear_session()
    if arguments.only is None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
