"""The memory of a process: what it frees, and that it does not grow with the windows of a run."""

import subprocess
import sys

import numpy as np
import pytest

from tests.trainers.launch import ROOT, resident_by_window
from tests.trainers.runs import CONFIG
from tfstable.sources.simulate import simulate

PROGRAM = """
import resource
import numpy as np
from trainers.devices.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(9_000_000, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


def test_freed_memory_is_taken_again_without_asking_the_system():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10, (before, after)


@pytest.mark.slow
@pytest.mark.parametrize(("when", "windows"), [("never", 50), ("last", 30), ("every_window", 30)])
def test_memory_is_flat_over_the_windows(when, windows, tmp_path):
    simulate(tmp_path / "log", days=windows + 1, rows_per_day=1000, users=200, videos=100)
    (tmp_path / "config.yaml").write_text(CONFIG.replace("path: unset", f"path: {tmp_path / 'log'}"))
    keys = [f"export.when={when}", "export.gate=null", "trainer.steps=4"]
    resident = resident_by_window(tmp_path / "config.yaml", tmp_path / "run", *keys)
    assert len(resident) == windows
    early, late = np.median(resident[8:13]), np.median(resident[-5:])
    print(f"{when}: {early:.0f} MB after 10 windows, {late:.0f} MB after {windows}")
    assert late - early < 20, resident
