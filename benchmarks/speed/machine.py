"""The machine and the releases on which the figures were measured."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> dict:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    flags = next(line for line in lines if line.startswith("flags")).split()
    memory = Path("/proc/meminfo").read_text().split(None, 2)[1]
    packages = ("tensorflow", "keras", "keras-rs", "tf-keras", "tensorflow-recommenders", "torch", "pyarrow")
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory) / 2**20, 1),
        "vector_instructions": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
        "python": platform.python_version(),
        "packages": {package: version(package) for package in packages},
    }
