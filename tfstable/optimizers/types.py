"""Types that pass between an optimizer and its rule."""

from collections.abc import Sequence
from typing import TypeAlias

import keras
import tensorflow as tf

Variable: TypeAlias = keras.Variable | tf.Variable
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices  # Sparse: rows of an embedding table.
Pairs: TypeAlias = Sequence[tuple[Gradient, Variable]]
State: TypeAlias = tuple[tf.Tensor, ...]  # The slots of a weight, or of the touched rows of a table.
