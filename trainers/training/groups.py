"""How a shuffle by groups cuts the groups of a log."""

import numpy as np
import pyarrow as pa

from tfstable.data.columns import group_type
from tfstable.data.group_shuffle import GroupShuffle, parts_of
from tfstable.data.log import DAY, DayLog, read
from tfstable.inputs.groups import group_numbers
from trainers.config import Config


def groups_line(config: Config, log: DayLog) -> str:
    """Returns a line on the groups of the first window: number, size, and how many are cut.

    It reads one column of the window's first two buffers.

    Args:
        config: The run's config, with a shuffle by groups.
        log: The log, checked against it.
    """
    trainer, shuffle = config.trainer, config.trainer.shuffle
    assert shuffle.by is not None
    days = log.days[: trainer.window_days]
    dtype = group_type({path: schema for day in days for path, schema in log.schemas(day).items()}, shuffle.by)
    size = trainer.batch_size
    buffer = -(-config.data.buffer_rows // size) * size
    pieces: list[pa.RecordBatch] = []
    for batch in read([unit for day in days for unit in log.units(day)], {shuffle.by: dtype, DAY: pa.int32()}):
        pieces.append(batch)
        if sum(piece.num_rows for piece in pieces) >= 2 * buffer:
            break
    table = pa.Table.from_batches(pieces).slice(0, 2 * buffer)
    groups = group_numbers(table[shuffle.by], table[DAY].to_numpy())
    room = size // parts_of(size, shuffle.group_parts)
    order = [
        begin + GroupShuffle(shuffle.group_parts).rows((trainer.seed, begin), len(own), size, own)
        for begin in range(0, len(groups), buffer)
        if len(own := groups[begin : begin + buffer])
    ]
    return _line(shuffle.by, groups[np.concatenate(order)], room, len(groups) > buffer)


def _line(column: str, groups: np.ndarray, room: int, buffers: bool) -> str:
    """What is said of groups in the order of training, in parts of `room` rows."""
    grouped = groups >= 0
    numbers, sizes = np.unique(groups[grouped], return_counts=True)
    lying = np.unique(np.stack([groups[grouped], np.flatnonzero(grouped) // room]), axis=1)[0]
    cut, large = int((np.unique(lying, return_counts=True)[1] > 1).sum()), int((sizes > room).sum())
    if not len(numbers):
        return f"groups by {column}: no row has a value; every row is by itself"
    where = "the first two buffers" if buffers else "the first window"
    share = f" ({cut / len(numbers):.1%})" if cut else ""
    return (
        f"groups by {column} in {where}: {len(numbers):,}, of {sizes.mean():.1f} rows on average, {sizes.max():,} at "
        f"most; {cut:,}{share} are cut; {large:,} have more than the {room:,} rows of a part of a batch; "
        f"{(~grouped).sum():,} rows are in none"
    )
