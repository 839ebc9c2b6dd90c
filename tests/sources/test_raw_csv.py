import os

import pyarrow as pa
import pytest

from tfstable.sources.raw_csv import read_raw_csv

TYPES = {"id": pa.int64(), "name": pa.string()}


def read(tmp_path, content):
    path = tmp_path / "raw.csv"
    path.write_bytes(content)
    return read_raw_csv(path, TYPES, filled=("id",))


def test_types_nulls_quotes_and_other_columns(tmp_path):
    table = read(tmp_path, b'name,other,id\n"12,65",x,9170219000\n,y,4.0\nNA,z,-124\n')
    assert table.schema == pa.schema(TYPES)
    assert table.to_pydict() == {"id": [9170219000, 4, -124], "name": ["12,65", None, "NA"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"raw\.csv: the file is empty"),
        (b"id\n1\n", r"raw\.csv: no column name; the file has id"),
        (b"id,name\n1,a\n2,b", r"raw\.csv, line 3: the file ends within the line"),
        (b"id,name\n1,a\n2\n3,c\n", r"raw\.csv, line 3: Expected 2 columns, got 1: 2; fix the line"),
        (b"id,name\n1,a\n\n3,c\n", r"raw\.csv, line 3: column id is empty"),
        (b"id,name\n1,a,b\n", r"raw\.csv, line 2: Expected 2 columns, got 3: 1,a,b"),
        (b"id,name\n1,a\nx7,b\n", r"raw\.csv, line 3: column id: to double: invalid value 'x7'"),
        (b"id,name\n1,a\n2.5,b\n", r"raw\.csv, line 3: column id holds 2\.5, not a whole number"),
        (b"id,name\n1,a\ninf,b\n", r"raw\.csv, line 3: column id holds inf, not a whole number"),
        (b"id,name\n1,a\n,b\n", r"raw\.csv, line 3: column id is empty"),
        (b'id,name\n1,"a\n2,b\n3,c\n', r"raw\.csv: 3 lines hold 1 rows: a quote is not closed"),
        (b"id,name\n1,a\n9007199254740993,b\n", r"raw\.csv, line 3: column id holds an id beyond 2\^53"),
        (b"id,name\n1,\xff\xfe\n", r"raw\.csv, line 2: column name: .*UTF8"),
    ],
)
def test_damage_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv: cannot be read"):
        read_raw_csv(tmp_path / "none.csv", TYPES)


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match=r"pipe\.csv: cannot be read \(not a regular file\)"):
        read_raw_csv(tmp_path / "pipe.csv", TYPES)


def test_the_line_is_right_far_into_a_file(tmp_path):
    lines = [b"id,name", *(b"%d,%s" % (i, b"x" * 100) for i in range(50_000)), b"7", b"8,y", b""]
    with pytest.raises(ValueError, match=r"line 50002: Expected 2 columns, got 1: 7;"):
        read(tmp_path, b"\n".join(lines))
