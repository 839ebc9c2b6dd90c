import subprocess
import sys
from pathlib import Path

PROGRAM = """
import resource
import numpy as np
from trainers.memory import keep_freed_memory

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
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10, (before, after)
