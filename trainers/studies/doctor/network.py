"""Units of the dense layers that say the same of every row."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfstable.layers import ReZero
from tfstable.models import RankingModel
from tfstable.models.experts import Experts

ROUNDING = 1e-5  # Activations that differ by less than this share of the largest of them are equal.


@dataclass(frozen=True)
class LayerFacts:
    """A dense layer's activations on the newest day's sample.

    Attributes:
        units: Units of the layer.
        zero: Those that are 0 for every row.
        constant: Those that have another value, the same for every row.
    """

    units: int
    zero: int
    constant: int


def layer_facts(model: RankingModel, features: Mapping[str, np.ndarray], batch_size: int) -> dict[str, LayerFacts]:
    """Returns the facts of each layer that ends in an activation, by its name, such as "bottom/dense_0".

    Args:
        model: The model. Layers are found in its `dense_stack`s: bottom, experts, towers, and those of a subclass.
        features: Model inputs by feature, one row per example.
        batch_size: Rows that go through the model at a time.
    """
    rows = len(next(iter(features.values())))
    with _watched(model) as ranges:
        for begin in range(0, rows, batch_size):
            model({name: tf.constant(x[begin : begin + batch_size]) for name, x in features.items()}, training=False)
    return {name: each.facts() for name, each in ranges.items() if each.least is not None}


class _Range:
    """The least and the greatest output of each unit."""

    least: np.ndarray | None = None
    greatest: np.ndarray | None = None

    def add(self, outputs: np.ndarray) -> None:
        least, greatest = outputs.min(axis=0), outputs.max(axis=0)
        self.least = least if self.least is None else np.minimum(self.least, least)
        self.greatest = greatest if self.greatest is None else np.maximum(self.greatest, greatest)

    def facts(self) -> LayerFacts:
        assert self.least is not None
        assert self.greatest is not None
        size = np.maximum(np.abs(self.least), np.abs(self.greatest))
        same = self.greatest - self.least <= ROUNDING * size
        return LayerFacts(len(size), int((size == 0).sum()), int((same & (size > 0)).sum()))


@contextmanager
def _watched(model: RankingModel) -> Iterator[dict[str, _Range]]:
    """Notes the outputs of activations while the model is called."""
    ranges: dict[str, _Range] = {}
    activations = dict(_activations(model))
    for name, layer in activations.items():
        layer.call = _noting(layer.call, ranges.setdefault(name, _Range()))
    try:
        yield ranges
    finally:
        for layer in activations.values():
            del layer.call  # The method of the class shows again.


def _noting(call: Callable[..., tf.Tensor], seen: _Range) -> Callable[..., tf.Tensor]:
    def noting(x: tf.Tensor, *args: Any, **kwargs: Any) -> tf.Tensor:
        y = call(x, *args, **kwargs)
        seen.add(tf.cast(y, tf.float32).numpy())
        return y

    return noting


def _activations(model: RankingModel) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields the activation layers of dense stacks, each with the name of its dense layer."""
    for stack in model.layers:
        if isinstance(stack, keras.Sequential):
            yield from _of_stack(stack.name, stack)
        elif isinstance(stack, Experts):
            for level in stack.levels:
                for name, expert in level.stacks.items():
                    yield from _of_stack(f"{stack.name}/{level.name}/{name}", expert)


def _of_stack(name: str, stack: keras.Sequential) -> Iterator[tuple[str, keras.layers.Layer]]:
    dense = ""
    for layer in stack.layers:
        if isinstance(layer, ReZero):
            yield from _of_stack(f"{name}/{layer.name}", layer.layer)
        elif isinstance(layer, keras.layers.Dense):
            dense = layer.name
        elif dense and not isinstance(layer, keras.layers.LayerNormalization | keras.layers.Dropout):
            yield f"{name}/{dense}", layer
            dense = ""
