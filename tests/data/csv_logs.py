"""Logs of CSV files, and what a model gets of their column x."""

from pathlib import Path

from tests.data.logs import DAY
from tfstable.data.arrays import raw_batches
from tfstable.data.columns import check_schemas, raw_columns
from tfstable.data.log import DayLog


def log_of(tmp_path: Path, *files: str) -> DayLog:
    """A log of one day; each file is the lines of its column x."""
    for number, lines in enumerate(files):
        path = tmp_path / f"date={DAY}" / f"{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x,y\n" + "".join(f"{line},1\n" for line in lines.split()), encoding="utf-8")
    return DayLog(tmp_path)


def inputs(log: DayLog, feature) -> tuple[str, list]:
    columns = raw_columns({"x": feature}, log.schemas(DAY))
    check_schemas(log, DAY, columns, ["y"])
    return columns["x"].dtype, [x for raw in raw_batches(log.units(DAY), columns) for x in raw["x"].tolist()]
