"""The command line in this process, on a small log that is written by hand."""

import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from trainers.cli import app as cli

CONFIG = """
data: {path: LOG}
features:
  user_id: {kind: hash, buckets: 100, dim: 4}
  city: {kind: vocabulary, dim: 4}
  age: {kind: numeric}
tasks:
  click: {kind: binary}
model: {units: [4]}
trainer: {window_days: 2, batch_size: 16, tensorboard: false}
"""
FIRST = date(2025, 1, 1)
ROWS = 40


def rows(**columns) -> dict:
    rng = np.random.default_rng(0)
    return {
        "user_id": rng.integers(0, 50, ROWS),
        "city": rng.choice(["Oslo", "Rome"], ROWS),
        "age": rng.exponential(30, ROWS),
        "click": rng.integers(0, 2, ROWS),
        **columns,
    }


def day(log: Path, number: int) -> Path:
    return log / f"date={FIRST + timedelta(number)}" / "part-0.parquet"


def tfstable(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    """Runs the command line in this process: its status, what it printed and what it complained of."""
    monkeypatch.setattr(sys, "argv", ["tfstable", *map(str, arguments)])
    monkeypatch.setattr(sys, "path", sys.path[:])
    capsys.readouterr()
    try:
        cli.main()
        status = 0
    except SystemExit as leave:
        status = leave.code or 0
    return status, *capsys.readouterr()


def complaint(result: tuple[int, str, str]) -> str:
    status, _, errors = result
    assert status == 2
    assert errors.count("\n") == 1
    assert errors.startswith("error: ")
    return errors.removeprefix("error: ").strip()


def complaint_lines(result: tuple[int, str, str]) -> list[str]:
    status, _, errors = result
    assert status == 2
    return errors.removeprefix("error: ").splitlines()


def train(place: Path, run: Callable, *more: str) -> tuple[int, str, str]:
    return run("train", "--config", place / "config.yaml", "--model-dir", place / "run", *more)
