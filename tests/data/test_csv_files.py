"""CSV files of a log: separators, compression, encodings, line ends."""

import bz2
import gzip

import pyarrow as pa
import pytest

from tests.data.csv_logs import inputs
from tests.data.logs import DAY, error, hashed
from tfstable.data.log import DayLog, read
from tfstable.specs import NumericFeature

NUMERIC = NumericFeature(kind="numeric")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(separator, tmp_path):
    path = tmp_path / f"date={DAY}" / "a.csv"
    path.parent.mkdir()
    lines = [["user_id", '"a,b;c"', "y"], ["7", '"p,q;r|s"', "1"]]
    path.write_text("".join(separator.join(line) + "\r\n" for line in lines))
    (batch,) = read(DayLog(tmp_path).units(DAY), {"user_id": None, "a,b;c": None, "y": pa.float32()})
    assert batch.to_pydict() == {"user_id": [7], "a,b;c": ["p,q;r|s"], "y": [1]}


def compressed(text: bytes, suffix: str) -> bytes:
    if suffix.endswith("zst"):
        return pa.compress(text, codec="zstd", asbytes=True)
    return {"gz": gzip.compress, "bz2": bz2.compress}[suffix.rpartition(".")[2]](text)


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.zst", "csv.bz2", "tsv.gz", "CSV.GZ"])
def test_compressed_files(suffix, tmp_path):
    path = tmp_path / f"date={DAY}" / f"part-0.{suffix}"
    path.parent.mkdir()
    rows = 200_000
    text = b"x\ty\n" if suffix.startswith("tsv") else b"x,y\n"
    text += b"".join(b"%d%c1\n" % (i, text[1:2]) for i in range(rows))
    path.write_bytes(compressed(text, suffix.lower()))
    log = DayLog(tmp_path)
    assert log.rows(DAY) == rows
    dtype, values = inputs(log, hashed())
    assert (dtype, values) == ("int64", list(range(rows)))
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    assert error(lambda: DayLog(tmp_path).units(DAY)).startswith(f"{path}: cannot be read (")
    assert error(lambda: inputs(log, hashed())).startswith(f"{path}: cannot be read (")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = tmp_path / f"date={DAY}" / "a.csv"
    path.parent.mkdir()
    path.write_text("x,y\n5,1\n", encoding="utf-8-sig")
    assert inputs(DayLog(tmp_path), hashed()) == ("int64", [5])


@pytest.mark.parametrize("feature", [hashed(), NUMERIC, hashed(type="string")])
def test_latin_1(feature, tmp_path):
    path = tmp_path / f"date={DAY}" / "a.csv"
    path.parent.mkdir()
    path.write_bytes("x,y,unread\ncafé,1,é\n".encode("latin-1"))
    log = DayLog(tmp_path)
    said = error(lambda: inputs(log, feature))
    assert said.startswith(f"{path}: column x: not UTF-8 text; write it as UTF-8 (")
    assert [batch["y"].to_pylist() for batch in read(log.units(DAY), {"y": pa.float32()})] == [[1]]
    path.write_bytes(b"x,y\n" + b"abc,1\n" * 300_000 + b"caf\xe9,1\n")
    said = error(lambda: inputs(DayLog(tmp_path), hashed()))
    assert said.startswith(f"{path}: column x: not UTF-8 text")


@pytest.mark.parametrize("content", ["näme,y\n1,2\n".encode("latin-1"), "x,y\n1,2\n".encode("utf-16")])
def test_a_header_that_is_not_utf_8(content, tmp_path):
    path = tmp_path / f"date={DAY}" / "a.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    for action in (lambda: DayLog(tmp_path).units(DAY), lambda: DayLog(tmp_path).schemas(DAY)):
        assert error(action).startswith(f"{path}: cannot be read (the header is not UTF-8 text")
