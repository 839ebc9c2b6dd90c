"""A small run with an export of all signatures, for the clients that load it."""

from datetime import date
from pathlib import Path

from trainers import Run
from trainers import config as configs

CONFIG = """
data: {path: unset, weight: weight}
features:
  user_id: {kind: hash, buckets: 500, dim: 4}
  user_country: {kind: vocabulary, dim: 4}
  user_followed: {kind: quantile, buckets: 8, dim: 4}
  user_age_days: {kind: numeric, log1p: true}
  hour: {kind: vocabulary, dim: 4}
  video_id: {kind: hash, buckets: 300, dim: 4}
  author_id: {kind: hash, buckets: 300, dim: 4}
  category: {kind: vocabulary, dim: 4}
  tags: {kind: hash, buckets: 50, dim: 4, max_values: 3}
  duration_s: {kind: numeric, log1p: true}
tasks:
  click: {kind: binary}
  follow: {kind: binary}
  watch_time: {kind: regression, label: watch_time_s, transform: log1p}
model: {units: [16, 16], activation: smelu, tower_units: [8], wide: true, dropout: 0.1}
optimizer: {embeddings: {initial_accumulator: 1.0e-4}}
trainer: {window_days: 2, batch_size: 256, tensorboard: false}
export:
  user_columns: [user_id, user_country, user_followed, user_age_days, hour]
  score_weights: {click: 1, follow: 4}
"""
USER = ("user_id", "user_country", "user_followed", "user_age_days", "hour")
LAST = date(2025, 1, 3)


def load(log: Path, *overrides: str) -> configs.Config:
    path = log.parent / "config.yaml"
    path.write_text(CONFIG)
    return configs.load(path, [f"data.path={log}", *overrides])


def start(log: Path, run: Path, *overrides: str):
    Run.open(load(log, *overrides), run).train()
