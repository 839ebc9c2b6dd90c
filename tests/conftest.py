import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run: a property that fails on one machine fails on all.
settings.register_profile(
    "tests", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser):
    parser.addoption("--without-tensorflow", action="store_true", help="An import of it is an error: `make quick`.")


def pytest_configure(config: pytest.Config):
    if config.option.without_tensorflow:
        sys.modules["tensorflow"] = sys.modules["keras"] = None
    else:
        import tests.two_devices  # noqa: F401


def pytest_collection_finish():
    """Takes what the imports have made out of every later garbage collection; each export of a model makes one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """`write(path, table)` writes a file of a log, in the format of its name, and returns its path.

    `table` is a pyarrow table, a dict of columns, or the text of a CSV file.
    """

    def write(path: Path, table: pa.Table | dict | str, row_group: int | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(table, str):
            path.write_text(table, encoding="utf-8")
            return path
        table = pa.table(table)
        if path.suffix == ".parquet":
            pq.write_table(table, path, row_group_size=row_group)
        elif path.suffix == ".csv":
            pyarrow.csv.write_csv(table, path)
        else:
            pyarrow.feather.write_feather(table, path)
        return path

    return write
