"""Runs that can diverge: a config without the stable parts, and logs with a day that harms."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.trainers.runs import copy_days, train
from tfstable.sources.simulate import simulate
from trainers import config as configs

CONFIG = """
data: {path: unset}
features:
  user_id: {kind: hash, buckets: 500, dim: 4}
  video_id: {kind: hash, buckets: 300, dim: 4}
  category: {kind: vocabulary, dim: 4}
  duration_s: {kind: numeric}
  video_age_days: {kind: numeric}
  user_followed: {kind: quantile, buckets: 8, dim: 4}
tasks:
  click: {kind: binary}
  watch_time: {kind: regression, label: watch_time_s, transform: log1p}
model: {units: [32, 32], activation: relu, input_normalisation: none}
optimizer:
  dense: {learning_rate: 0.05, clipping: null}
  embeddings: {learning_rate: 0.05, initial_accumulator: 1.0e-4}
trainer: {window_days: 1, batch_size: 128, passes: 2, tensorboard: false}
divergence: {horizon: 40, patience: 20}
export: {when: never}
"""
DAYS = [date(2025, 1, day) for day in range(1, 8)]
HUNDREDFOLD = ("optimizer.dense.learning_rate=5.0", "optimizer.embeddings.learning_rate=5.0")  # Of what is healthy.
ROWS = 5120  # A day: 40 batches, twice.


def healthy_log(path: Path) -> Path:
    simulate(path, days=len(DAYS), rows_per_day=ROWS, users=300, videos=150)
    return path


def go(log: Path, run: Path, *overrides: str):
    path = log.parent / "config.yaml"
    path.write_text(CONFIG)
    config = configs.load(path, [f"data.path={log}", *overrides])
    train(config, run)


def poisoned(log: Path, day: date, to: Path, change: Callable[[pa.Table], dict[str, np.ndarray]]) -> Path:
    copy_days(log, DAYS, to)
    path = to / f"date={day}" / "part-0.parquet"
    table = pq.read_table(path)
    for name, values in change(table).items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(table, path)
    return to


def events(run: Path, kind: str) -> list[dict]:
    path = run / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == kind]
