"""Examples per second, compared with other frameworks and with the limit of the machine, and as things grow.

    make bench                 (python -m benchmarks.speed --raw ../shared/data/kuairand-pure-slice)

Every side is its own process, and both sides of a ratio take turns in one run. A ratio is the median over the turns
with its range. Writes benchmarks/results/speed.json after each case, and speed.md; rerun to do the missing cases.
docs/performance.md explains the results. About an hour on 2 cores, and 12 GB.
"""

import argparse
import json
from pathlib import Path

from benchmarks.speed import growth, kuairand, limit, log_input, peers
from benchmarks.speed.machine import machine
from benchmarks.speed.report import markdown

RESULTS = Path(__file__).parents[1] / "results"
PARTS = {
    "peers": peers.cases,
    "kuairand": kuairand.cases,
    "limit": limit.cases,
    "growth": growth.cases,
    "input": log_input.cases,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="directory of KuaiRand's official CSV files")
    parser.add_argument("--out", type=Path, default=RESULTS / "speed.json")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-speed"), help="for logs; they are kept")
    parser.add_argument("--only", choices=list(PARTS), help="one part")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"machine": machine()}
    for part, cases in PARTS.items():
        if arguments.only in (None, part):
            for case, measure in cases(arguments.raw, arguments.work).items():
                if case not in found.setdefault(part, {}):
                    found[part][case] = measure()
                    print(f"{part}: {case}: {json.dumps(found[part][case])}", flush=True)
                    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(markdown(found))
    growth.picture(found.get("growth", {}), arguments.out.with_name("speed_growth.png"))


if __name__ == "__main__":
    main()
