"""Where in the data a run is."""

from datetime import date

import tensorflow as tf


class Position(tf.Module):
    """Where in the data a run is: part of every checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.window = tf.Variable(0, dtype=tf.int64)  # Last day of the newest finished window, as an ordinal; 0: none.
        self.step = tf.Variable(0, dtype=tf.int64)  # Batches done of the window after it, those left out included.

    @property
    def last_day(self) -> date | None:
        ordinal = int(self.window.numpy())
        return date.fromordinal(ordinal) if ordinal else None

    @property
    def batch(self) -> int:
        return int(self.step.numpy())
