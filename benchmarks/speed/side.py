"""One side of a comparison: a process that trains on request and returns the time that it took.

Each side has its own process, because TFRS needs Keras 2. Sides take turns, because machines are noisy.
"""

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from benchmarks.speed.workload import Workload

ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_USE_LEGACY_KERAS": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # Huge pages, which random rows of large tables are read faster from.
}


class SideError(RuntimeError):
    """A side that could not be built or died; the message is the end of what it printed."""


class Side:
    """Starts a side and waits until its first steps are behind it.

    Args:
        module: Of `benchmarks.speed.sides`.
        arguments: Of its `make`, as JSON knows them; a `workload` as a dict. `warm_up`: calls before it is ready, 2.
    """

    def __init__(self, module: str, **arguments):
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115  (a pipe that nobody reads would fill up)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.side", module, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        self._answer()

    def seconds(self, calls: int) -> float:
        """Of wall time for `calls` calls."""
        return self._ask(calls)["seconds"]

    def rate(self, calls: int = 1) -> float:
        """Examples a second over `calls` calls."""
        answer = self._ask(calls)
        return answer["examples"] / answer["seconds"]

    def peak_mb(self) -> float:
        """The most memory that the process has held."""
        return self._ask(0)["peak_mb"]

    def _ask(self, calls: int) -> dict:
        with contextlib.suppress(BrokenPipeError):  # It says below what it died of.
            print(calls, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):  # Libraries print too.
                return json.loads(line)
        self._process.wait()
        self._printed.seek(0)
        raise SideError(self._printed.read()[-2000:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends the process; once is enough."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
            self._printed.close()


def main():
    module, arguments = sys.argv[1], json.loads(sys.argv[2])
    if "workload" in arguments:
        arguments["workload"] = Workload.from_dict(arguments["workload"])
    warm_up = arguments.pop("warm_up", 2)
    train = importlib.import_module(f"benchmarks.speed.sides.{module}").make(**arguments)
    for _ in range(warm_up):
        train(1)  # Traced, compiled, caches warm.
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        calls, began = int(line), time.perf_counter()
        examples = train(calls) if calls else 0
        seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "examples": examples, "peak_mb": peak}), flush=True)


if __name__ == "__main__":
    main()
