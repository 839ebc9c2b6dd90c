"""Graphs that are only called, never differentiated, so that nothing keeps them longer than their caller does."""

from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops  # TensorFlow offers no public way to forget a gradient function.


@contextmanager
def without_gradients() -> Iterator[None]:
    """Forgets the gradient functions that TensorFlow registers inside the block; also a decorator.

    TensorFlow registers one for every function that a graph calls, each time it is traced or loaded. The registry lives
    as long as the process, and a gradient function holds its graph: a process that publishes or loads a version a day
    would hold the graphs of all of them. Functions from the block can be called later, but not differentiated.
    """
    registered = ops.gradient_registry._registry
    before = set(registered)
    try:
        yield
    finally:
        for name in registered.keys() - before:
            del registered[name]
