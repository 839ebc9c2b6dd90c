"""Every kind of input together: histories read in each way, counters, vectors, crossed ids, given tables, ids."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

USER_COLUMNS = ("user_id", "seen", "gap", "taste")


def add_columns(log: Path) -> Path:
    """Adds columns to a simulated log: a history per user, empty or cut for some, and vectors; writes `videos.npz`."""
    rng = np.random.default_rng(0)
    lengths = [0, *rng.integers(0, 7, 199)]
    seen = [rng.integers(0, 100, n).tolist() for n in lengths]
    gaps = [[None, *rng.exponential(10.0, n - 1).round(1).tolist()] if n else [] for n in lengths]  # Not all are known.
    covers = [None if rng.random() < 0.2 else row.tolist() for row in rng.normal(size=(200, 3))]
    np.savez(log.parent / "videos.npz", id=np.arange(50), vector=rng.normal(size=(50, 5)))
    for file in log.glob("date=*/*.parquet"):
        table = pq.read_table(file)
        users = [user % 200 for user in table["user_id"].to_pylist()]
        table = table.append_column("seen", pa.array([seen[user] for user in users], pa.list_(pa.int64())))
        table = table.append_column("gap", pa.array([gaps[user] for user in users], pa.list_(pa.float64())))
        cover = [covers[video % 200] for video in table["video_id"].to_pylist()]
        table = table.append_column("cover", pa.array(cover, pa.list_(pa.float32())))
        taste = [[user % 7 / 7, user % 5 / 5] for user in users]
        pq.write_table(table.append_column("taste", pa.array(taste, pa.list_(pa.float64(), 2))), file)
    return log


def features(log: Path, videos: int = 300) -> dict[str, dict]:
    """Specs of the features, for a log that has the columns, beside a `video_id` with as many buckets of width 4."""
    history = {"max_values": 4, "dim": 4}
    given = {
        "kind": "hash",
        "column": "video_id",
        "buckets": 97,
        "dim": 5,
        "pretrained": str(log.parent / "videos.npz"),
    }
    ids = {"kind": "id", "table": "id", "capacity": 60, "min_count": 2, "expire_days": 2, "dim": 4}
    return {
        "seen": {"kind": "hash", "buckets": videos, "table": "video_id", **history},
        "gap": {"kind": "quantile", "buckets": 4, **history},
        "of_video": {
            "kind": "counter",
            "by": ["video_id"],
            "of": ["click", "watch_time"],
            "half_life_days": 2,
            "buckets": 500,
        },
        "of_pair": {
            "kind": "counter",
            "by": ["user_id", "category"],
            "of": ["click"],
            "delay_days": 1,
            "buckets": 500,
        },
        "pair": {"kind": "hash", "columns": ["user_id", "category"], "buckets": 300, "dim": 4, "rate": 0.5},
        "cover": {"kind": "vector", "width": 3, "normalise": "layer", "projection": 4},
        "taste": {"kind": "vector", "width": 2},
        "content": {**given, "trainable": False},
        "content_slow": {**given, "rate": 0.1},
        "id": {"column": "video_id", **ids},
        "seen_id": {"column": "seen", "max_values": 3, **ids},
        "fan": {"kind": "id", "column": "user_id", "capacity": 150, "dim": 4, "pooling": "sum"},
        "tag": {"kind": "vocabulary", "column": "tags", "max_size": 6, "grow": True, "dim": 4, "max_values": 3},
    }


FOLLOW = {"kind": "binary", "matures_after_days": 1, "base_rate": 0.03}  # A task whose labels come late.
SEQUENCES = {
    "watched": {"features": ["seen", "gap"], "query": ["video_id"], "units": [8]},
    "user": {"features": ["seen"], "query": ["video_id", "user_id"], "attention": "decoder", "units": [8]},
    "read": {"features": ["seen", "gap"], "query": ["video_id"], "attention": "encoder", "units": [8], "heads": 2},
    "all": {"features": ["gap"], "attention": "mean"},
    "ids": {"features": ["seen_id"], "query": ["id"], "units": [8]},
}


def overrides(log: Path, videos: int = 300) -> tuple[str, ...]:
    """The features and how the histories are read, as operands of `--set`."""
    specs = [f"features.{name}={json.dumps(spec)}" for name, spec in features(log, videos).items()]
    return *specs, f"model.sequences={json.dumps(SEQUENCES)}", f"tasks.follow={json.dumps(FOLLOW)}"


def with_all_inputs(config: str, log: Path) -> str:
    """Adds them to a config's text, with the path of the log."""
    sections = yaml.safe_load(config)
    sections["data"]["path"] = str(log)
    sections["features"] |= features(log)
    sections["model"]["sequences"] = SEQUENCES
    sections["tasks"]["follow"] = FOLLOW
    return yaml.safe_dump(sections, sort_keys=False)
