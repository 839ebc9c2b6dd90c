"""From the config's `trainer.shuffle` to an order of the rows."""

from tfstable.data.shuffle import BlockShuffle, FullShuffle, Shuffle, SwapShuffle
from trainers.config import ShuffleConfig


def make_shuffle(config: ShuffleConfig) -> Shuffle:
    if config.kind == "blocks":
        return BlockShuffle(config.rows)
    return SwapShuffle() if config.kind == "swaps" else FullShuffle()
