"""From the config's `trainer.shuffle` to an order of the rows."""

from tfstable.data.group_shuffle import GroupShuffle
from tfstable.data.shuffle import BlockShuffle, FullShuffle, Shuffle, SwapShuffle
from trainers.config import ShuffleConfig


def make_shuffle(config: ShuffleConfig) -> Shuffle:
    if config.rows is not None:  # Only kind: blocks has rows.
        return BlockShuffle(config.rows)
    if config.kind == "groups":
        return GroupShuffle(config.group_parts)
    return SwapShuffle() if config.kind == "swaps" else FullShuffle()
