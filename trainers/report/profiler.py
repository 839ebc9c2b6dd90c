"""A TensorFlow profile of training, on request."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf


class Profiler:
    """Profiles the second call of the train step of this process: the first one may still compile.

    Args:
        directory: Where TensorBoard will find the profile; None for none.
    """

    def __init__(self, directory: Path | None):
        self._directory, self._calls = directory, 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wraps each call."""
        self._calls += 1
        if self._directory is None or self._calls != 2:
            yield
            return
        with tf.profiler.experimental.Profile(str(self._directory)):
            yield
