"""Histories, counters, vectors, crossed ids and given tables that do not fit the log: one line, and nothing written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.trainers.commands import complaint, complaint_lines, day, train

CONFIG = """
data: {path: LOG}
features:
  user: {kind: hash, buckets: 50, dim: 4}
  item: {kind: hash, buckets: 50, dim: 4}
  seen: {kind: hash, buckets: 50, dim: 4, table: item, max_values: 3}
  gap: {kind: quantile, buckets: 4, dim: 4, max_values: 3}
  of_item: {kind: counter, by: [item], of: [click], buckets: 50}
  pair: {kind: hash, columns: [user, city], buckets: 50, dim: 4}
  cover: {kind: vector, width: 2}
  content: {kind: hash, column: item, buckets: 30, dim: 3, pretrained: FILE, trainable: false}
tasks: {click: {kind: binary}}
model: {units: [8], sequences: {watched: {features: [seen, gap], query: [item], units: [4]}}}
trainer: {window_days: 1, batch_size: 20, tensorboard: false}
"""
ROWS = 20
GIVEN = {"id": np.arange(5), "vector": np.ones((5, 3))}


def rows(**columns) -> dict:
    lists = [list(range(n % 5)) for n in range(ROWS)]
    return {
        "user": np.arange(ROWS),
        "item": np.arange(ROWS),
        "city": ["a", "b"] * (ROWS // 2),
        "seen": pa.array(lists, pa.list_(pa.int64())),
        "gap": pa.array(lists, pa.list_(pa.float64())),
        "cover": pa.array([[0.5, 1.0]] * (ROWS - 1) + [None]),
        "click": [0, 1] * (ROWS // 2),
        **columns,
    }


@pytest.fixture
def place(tmp_path, write) -> Path:
    for number in range(3):
        write(day(tmp_path / "log", number), rows())
    np.savez(tmp_path / "given.npz", **GIVEN)
    text = CONFIG.replace("LOG", str(tmp_path / "log")).replace("FILE", str(tmp_path / "given.npz"))
    (tmp_path / "config.yaml").write_text(text)
    return tmp_path


def refused(place: Path, run, *keys: str) -> str:
    """What `check` and `train` say alike."""
    sets = [word for key in keys for word in ("--set", key)]
    said = complaint(run("check", "--config", place / "config.yaml", *sets))
    assert complaint(train(place, run, *sets)) == said
    assert not (place / "run").exists() or not list((place / "run").iterdir())
    return said


def test_it_fits(place, run):
    status, _, errors = run("check", "--deep", "--config", place / "config.yaml")
    assert (status, errors) == (0, "")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("model.sequences.watched.features=[user]", "watched.features: user reads single values, but must read lists"),
        ("model.sequences.watched.features=[pair]", "watched.features: pair reads single values, but must read lists"),
        ("model.sequences.watched.query=[]", "watched: attention: target needs a query; name the candidate's features"),
        (
            "features.gap.max_values=5",
            "gap keeps the last 5 values, but seen the last 3; make max_values and keep",
        ),
        (
            "features.of_item.by=[seen]",
            "column seen has type list<item: int64>, which features.of_item (counter)",
        ),
        ("features.of_item.by=[video]", "no column video; the file has"),
        ("features.of_item.delay_days=4000", "features.of_item.delay_days: Input should be less than or equal to 3650"),
        ("features.pair.columns=[user, seen]", "which features.pair.columns cannot take; name columns of one value"),
        ("features.cover.column=user", "column user has type int64, which features.cover (vector) cannot take; write"),
        ("features.cover.column=gap", "features.cover: column gap is also read by a feature of another kind or width"),
        ("features.content.dim=4", "given.npz has vectors of width 3, the table's dim is 4; set dim: 3"),
        (
            "features.content.column=city",
            "has ids that are integers, the column has text; write ids as the log",
        ),
        ("features.content.pretrained=nothing.npz", "nothing.npz cannot be read (No such file or directory); name a"),
    ],
)
def test_a_key_that_does_not_fit(key, said, place, run):
    assert said in refused(place, run, key)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vector": np.full((5, 3), np.nan)}, "the vector of id 0 is not finite; leave it out"),
        ({"vector": np.full((5, 3), 1e300)}, "the vector of id 0 is not finite; leave it out"),
        ({"vector": np.ones((4, 3))}, "has a vector of shape (4, 3)"),
        ({"id": np.zeros(5, int)}, "has id 0 more than once; keep one of its vectors"),
        ({"id": np.arange(5) / 2}, "has ids that are floats, the column has integers"),
    ],
)
def test_a_file_of_vectors_that_does_not_fit(change, said, place, run):
    np.savez(place / "given.npz", **GIVEN | change)
    assert said in refused(place, run)


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"seen": pa.array([[1, 2, 3]] * ROWS), "gap": pa.array([[1.0, 2.0, 3.0], None] * 9 + [[1.0], []])},
            "model.sequences.watched: columns seen and gap have 3 and 1 values in a row; write a value per event into "
            "each list, null where it is not known (FILE: 2 of 20 rows read)",
        ),
        (
            {"cover": pa.array([[0.5, 1.0]] * (ROWS - 1) + [[1.0]])},
            "FILE: column cover: row 19 (the first is 0) has a vector of width 1, expected 2; write a null where there "
            "is no vector",
        ),
    ],
)
def test_rows_that_do_not_fit(columns, said, number, place, run, write):
    path = write(day(place / "log", number), rows(**columns))
    (line,) = complaint_lines(run("check", "--deep", "--config", place / "config.yaml"))
    assert line == said.replace("FILE", str(path))
    if number == 0:
        assert complaint(train(place, run)) == line
        assert not (place / "run" / "checkpoints").exists()


def test_texts_of_several_values_are_lists_too(place, run, write):
    of_seen = "features.seen={kind: hash, buckets: 50, dim: 4, delimiter: '|', max_values: 3}"
    keys = ["--set", of_seen, "--set", "model.sequences.watched.features=[seen, gap]"]
    for number in range(3):
        texts = ["1|2", "", None, "3"] * (ROWS // 4)
        gaps = pa.array([[0.5, 1.5], None, [1.0], [2.0]] * (ROWS // 4))
        write(day(place / "log", number), rows(seen=texts, gap=gaps))
    config = ("--config", place / "config.yaml")
    assert run("check", "--deep", *config, *keys)[0] == 0
    write(day(place / "log", 1), rows(seen=["1|2"] * ROWS, gap=pa.array([[1.0]] * ROWS)))
    assert "columns seen and gap have 2 and 1 values in a row" in complaint(run("check", "--deep", *config, *keys))
