"""Versions as files: numbers that only grow, folders that are whole, rollback and pruning."""

import subprocess
import sys
from pathlib import Path

import pytest

from tfstable.errors import InputError
from tfstable.serving import card as cards
from tfstable.serving import versions


def publish(directory: Path, window_end: str, **card) -> Path:
    partial = versions.begin(directory)
    (partial / "variables").mkdir(parents=True)
    (partial / "variables" / "data").write_text(window_end)
    cards.write(partial, cards.ModelCard(window_end, **card))
    return versions.publish(partial)


def content(directory: Path, number: int) -> str:
    return (directory / str(number) / "variables" / "data").read_text()


def test_numbers_grow_and_hidden_folders_have_none(tmp_path):
    assert versions.versions(tmp_path / "absent") == []
    assert [publish(tmp_path, f"2025-01-0{i}").name for i in (1, 2)] == ["1", "2"]
    (tmp_path / ".3.partial").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "10").mkdir()
    assert versions.versions(tmp_path) == [1, 2, 10]
    assert publish(tmp_path, "2025-01-03").name == "11"


def test_what_was_left_of_a_version_that_was_cut_off_does_not_come_into_the_next(tmp_path):
    left = versions.begin(tmp_path) / "variables"
    left.mkdir(parents=True)
    (left / "old").touch()
    assert not (publish(tmp_path, "2025-01-01") / "variables" / "old").exists()


def test_pruning_keeps_the_newest(tmp_path):
    for i in range(1, 6):
        publish(tmp_path, f"2025-01-0{i}")
    assert versions.prune(tmp_path, 2) == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5", "latest"]
    assert (tmp_path / "latest").resolve() == tmp_path / "5"
    assert versions.prune(tmp_path, 2) == []
    assert publish(tmp_path, "2025-01-06").name == "6"


def test_a_rollback_is_a_copy_under_the_next_number(tmp_path):
    for i in range(1, 4):
        publish(tmp_path, f"2025-01-0{i}")
    assert versions.promote(tmp_path, 1).name == "4"
    assert content(tmp_path, 4) == content(tmp_path, 1) == "2025-01-01"
    card = versions.metadata(tmp_path / "4")
    assert card.promoted_from == 1
    assert card.withdrawn == ("2025-01-02", "2025-01-03")
    assert "copy of version: 1" in (tmp_path / "4" / "MODEL_CARD.md").read_text()
    assert versions.metadata(tmp_path / "1").promoted_from is None
    # Rolled forward again: the third day's model is back, what stays withdrawn is the second's and the first's.
    assert versions.promote(tmp_path, 3).name == "5"
    assert versions.metadata(tmp_path / "5").withdrawn == ("2025-01-01", "2025-01-02")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("number", "message"), [(7, "no such version; the versions are 1, 2"), (2, "already the newest version")]
)
def test_what_cannot_be_promoted(tmp_path, number, message):
    publish(tmp_path, "2025-01-01")
    publish(tmp_path, "2025-01-02")
    with pytest.raises(InputError, match=message):
        versions.promote(tmp_path, number)
    assert versions.versions(tmp_path) == [1, 2]


def test_another_folder_with_a_number_is_no_version(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(InputError, match="not an export of tfstable"):
        versions.metadata(tmp_path / "1")


def test_listing_needs_no_tensorflow():
    program = "import sys, trainers.cli.versions; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False).returncode == 0
