"""The day log: its files, days and windows, and the order of the rows. Imports no TensorFlow."""

from tfstable.data.arrays import raw_batches
from tfstable.data.columns import RawColumn, check_schemas, raw_columns
from tfstable.data.day_writer import ROW_GROUP, day_writer
from tfstable.data.group_shuffle import GroupShuffle
from tfstable.data.log import DayLog, read
from tfstable.data.log_files import Unit
from tfstable.data.shuffle import BlockShuffle, FullShuffle, Shuffle, SwapShuffle
from tfstable.data.window import Batches, Window, windows

__all__ = [
    "ROW_GROUP",
    "Batches",
    "BlockShuffle",
    "DayLog",
    "FullShuffle",
    "GroupShuffle",
    "RawColumn",
    "Shuffle",
    "SwapShuffle",
    "Unit",
    "Window",
    "check_schemas",
    "day_writer",
    "raw_batches",
    "raw_columns",
    "read",
    "windows",
]
