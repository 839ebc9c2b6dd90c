"""The resident memory of a run must not grow with its windows, with or without an export per window.

    make bench-memory         (python -m benchmarks.memory)

Each case is one `tfstable train` of configs/quickstart.yaml in its own process, over windows of one day. The memory is
read at the end of each window's training. Writes benchmarks/results/memory.json.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from tests.trainers.launch import ROOT, resident_by_window
from tfstable.sources.simulate import simulate

RESULTS = Path(__file__).parent / "results" / "memory.json"
AROUND = 5  # Windows whose median is one figure: buffers come and go.


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=100)
    windows = parser.parse_args().windows
    results = {"windows": windows, "rows_per_window": 2000}
    with tempfile.TemporaryDirectory() as work:
        log = Path(work) / "log"
        simulate(log, days=windows + 1, rows_per_day=results["rows_per_window"])
        for when in ("last", "every_window"):
            keys = [f"data.path={log}", "trainer.window_days=1", f"export.when={when}", "export.gate=null"]
            resident = resident_by_window(ROOT / "configs" / "quickstart.yaml", Path(work) / when, *keys)
            early, late = (statistics.median(part) for part in (resident[10 : 10 + AROUND], resident[-AROUND:]))
            results[when] = {
                "mb_after_10_windows": round(early),
                "mb_at_the_end": round(late),
                "growth_mb": round(late - early),
                "every_tenth_window_mb": [round(value) for value in resident[::10]],
            }
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(when, results[when], flush=True)


if __name__ == "__main__":
    main()
