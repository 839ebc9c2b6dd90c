"""JSON that was written is read back, and a write that is cut off leaves what was there."""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfstable.errors import InputError
from tfstable.files import FORMAT, read_json, whole, write_json

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
KEYS = st.text().filter(lambda key: key not in ("checksum", "format"))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5).map(lambda value: {"format": FORMAT, **value})


@given(OBJECTS, OBJECTS, st.data())
def test_json_comes_back_or_what_was_there_stays(old, new, data):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "of a run" / "file.json"
        write_json(path, old)
        assert read_json(path, "") == old
        where = data.draw(st.sampled_from(["fsync", "replace", "nowhere"]), "fails")
        with pytest.MonkeyPatch.context() as patch:
            if where == "fsync":
                patch.setattr(os, "fsync", refused)
            elif where == "replace":
                patch.setattr(Path, "replace", refused)
            if where == "nowhere":
                write_json(path, new)
            else:
                with pytest.raises(OSError, match="full"):
                    write_json(path, new)
        assert read_json(path, "") == (new if where == "nowhere" else old)
        assert list(path.parent.iterdir()) == [path]


def refused(*_):
    raise OSError(28, "full")


@given(OBJECTS, st.data())
def test_an_object_that_was_changed_is_not_read(value, data):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "file.json"
        write_json(path, value)
        written = json.loads(path.read_text(encoding="utf-8"))
        changed = data.draw(OBJECTS.map(lambda other: written | other), "changed")
        path.write_text(json.dumps(changed), encoding="utf-8")
        same = {k: v for k, v in changed.items() if "second" not in k} == {
            k: v for k, v in written.items() if "second" not in k
        }
        if json.dumps(changed) != json.dumps(written) and not same:
            with pytest.raises(InputError, match="checksum does not match; do this"):
                read_json(path, "do this")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_grows_appears_whole_or_not_at_all(kind, tmp_path):
    def grow(hidden: Path) -> None:
        place = hidden / "part" if kind == "directory" else hidden
        place.parent.mkdir(exist_ok=True)
        place.write_text("new")

    hidden = tmp_path / "folder" / ".thing.partial"
    hidden.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    for left in (lambda: None, lambda: grow(hidden), lambda: hidden.symlink_to(elsewhere)):  # By a killed process.
        left()
        with suppress(KeyboardInterrupt), whole(tmp_path / "folder" / "thing") as place:
            assert place == hidden
            assert not place.exists()
            grow(place)
            raise KeyboardInterrupt
        assert list(hidden.parent.iterdir()) == []
    with whole(tmp_path / "folder" / "thing") as place:
        grow(place)
        assert not (tmp_path / "folder" / "thing").exists()
    assert [path.name for path in hidden.parent.iterdir()] == ["thing"]
    assert (elsewhere / "kept").exists()
