"""Real trainings in processes of their own: one, or several that form a cluster on the loopback interface."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(
    config: Path, run: Path, *overrides: str, flags: Sequence[str] = (), environment: dict[str, str] | None = None
) -> subprocess.Popen:
    """Starts `tfstable train`; both of its outputs come as one text."""
    command = [sys.executable, "-m", "trainers", "train", "--config", str(config), "--model-dir", str(run), *flags]
    command += [part for override in overrides for part in ("--set", override)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_workers(number: int, config: Path, run: Path, *overrides: str) -> list[subprocess.Popen]:
    """Starts the workers of a cluster, the chief first."""
    return [
        start(config, run, "trainer.strategy=multi_worker", *overrides, environment=environment)
        for environment in cluster(number)
    ]


def cluster(number: int) -> list[dict[str, str]]:
    """Returns the TF_CONFIG of each worker, on ports of this machine that are free."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(number)]
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})}
        for index in range(number)
    ]


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def finish(process: subprocess.Popen, status: int = 0, seconds: float = 600) -> str:
    """Waits for a process and returns its output; fails unless it left with `status`."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # It prints where each of its threads stands.
        raise AssertionError(f"still running after {seconds} s:\n{process.communicate()[0][-6000:]}") from None
    assert process.returncode == status, f"status {process.returncode}, not {status}:\n{output[-3000:]}"
    return output


def resident_by_window(config: Path, run: Path, *overrides: str) -> list[float]:
    """Trains to the end. Returns the process's resident memory in MB at the end of each window's training."""
    process, output, resident = start(config, run, *overrides), [], []
    for line in process.stdout:
        output.append(line)
        if line.startswith("window "):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            resident.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    assert process.wait() == 0, "".join(output)[-3000:]
    return resident
