"""Frees graphs that are only called, never differentiated."""

from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops  # TensorFlow offers no public way to forget a gradient function.


@contextmanager
def without_gradients() -> Iterator[None]:
    """Unregisters the gradient functions that TensorFlow registers inside the block; also works as a decorator.

    TensorFlow registers one per function that a graph calls, each time the graph is traced or loaded. The registry
    lives as long as the process, and a gradient function holds its graph: a process that publishes or loads one version
    per day would keep all their graphs. Functions from the block can be called later, but not differentiated.
    """
    registered = ops.gradient_registry._registry
    before = set(registered)
    try:
        yield
    finally:
        for name in registered.keys() - before:
            del registered[name]
