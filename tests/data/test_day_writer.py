from datetime import date

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from tfstable.data.day_writer import day_writer

DAY = date(2025, 1, 1)
SCHEMA = pa.schema({"x": pa.int64()})
TABLE = pa.table({"x": [1, 2, 3]})


def test_a_day_is_one_hive_partition(tmp_path):
    with day_writer(tmp_path / "new" / "log", DAY, SCHEMA) as writer:
        writer.write_table(TABLE)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.parquet")] == [
        "new/log/date=2025-01-01/part-0.parquet"
    ]
    table = ds.dataset(tmp_path / "new" / "log", partitioning="hive").to_table()
    assert table.to_pydict() == {"x": [1, 2, 3], "date": ["2025-01-01"] * 3}


def test_an_unfinished_day_is_not_there(tmp_path):
    def interrupted():
        with day_writer(tmp_path, DAY, SCHEMA) as writer:
            writer.write_table(TABLE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_passed_over_and_cleared(tmp_path):
    left = tmp_path / ".writing-date=2025-01-01"
    left.mkdir()
    (left / "part-0.parquet").write_bytes(b"PAR1 half a file")
    assert ds.dataset(tmp_path, partitioning="hive").files == []
    with day_writer(tmp_path, DAY, SCHEMA) as writer:
        writer.write_table(TABLE)
    assert [child.name for child in tmp_path.iterdir()] == ["date=2025-01-01"]


def test_a_day_is_never_rewritten(tmp_path):
    with day_writer(tmp_path, DAY, SCHEMA) as writer:
        writer.write_table(TABLE)
    before = (tmp_path / "date=2025-01-01/part-0.parquet").read_bytes()
    with (
        pytest.raises(ValueError, match="date=2025-01-01: the day exists already"),
        day_writer(tmp_path, DAY, SCHEMA),
    ):
        pass
    assert (tmp_path / "date=2025-01-01/part-0.parquet").read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "log").write_text("a file")
    with (
        pytest.raises(ValueError, match="date=2025-01-01: cannot be written"),
        day_writer(tmp_path / "log", DAY, SCHEMA),
    ):
        pass
