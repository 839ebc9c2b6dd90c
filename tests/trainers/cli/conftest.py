"""A place where a user is about to train."""

from pathlib import Path

import pytest

from tests.trainers.commands import CONFIG, day, rows


@pytest.fixture
def place(tmp_path, write) -> Path:
    """A directory with a config and a log of three days; a run would go to `run`."""
    for number in range(3):
        write(day(tmp_path / "log", number), rows())
    (tmp_path / "config.yaml").write_text(CONFIG.replace("LOG", str(tmp_path / "log")))
    return tmp_path
