"""A good config, which the tests change."""

from pathlib import Path

import pytest

from tfstable.errors import InputError
from trainers.config import load

GOOD = """
data: {path: logs/mine}
features:
  user_id: {kind: hash, buckets: 1000}
  tag: {kind: vocabulary, delimiter: ",", max_values: 3}
  age: {kind: numeric, log1p: true, clip: [0, 10]}
  age_q: {kind: quantile, column: age}
tasks:
  click: {kind: binary}
  time: {kind: regression, label: seconds, transform: log1p}
"""


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        load(path, overrides)
    return str(error.value)
