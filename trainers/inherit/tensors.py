"""The arrays in TensorFlow's files, by the names that their variables had."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from tfstable.errors import InputError
from trainers.inherit.names import in_model

# Where a checkpoint of a run, or an exported version, keeps the weights of the model.
_OF_MODEL = ("model/", "optimizer/_trainable_variables/", "variables_read/")


class Tensors:
    """The arrays of a checkpoint of a run, or of an exported version.

    Args:
        prefix: Path of TensorFlow's files, without their endings.

    Raises:
        InputError: If they cannot be read.
    """

    def __init__(self, prefix: Path):
        self._prefix = prefix
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            graph = TrackableObjectGraph.FromString(self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
            raise self._damaged(error) from None
        keys = {a.full_name: a.checkpoint_key for node in graph.nodes for a in node.attributes if a.checkpoint_key}
        # The model's own first: of several variables with one name, the optimizer's follow.
        self._others = {name: key for name, key in keys.items() if not key.startswith(_OF_MODEL)}
        own = [name for name, key in keys.items() if key.startswith(_OF_MODEL) and "/" in name]
        self._path_of = {name: path for path, name in in_model(own).items()}
        self._key_of = {name: keys[path] for name, path in self._path_of.items()}

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See `Source.shapes`."""
        found = self._reader.get_variable_to_shape_map()
        return {name: tuple(found[key]) for name, key in self._key_of.items()}

    def weight(self, path: str) -> np.ndarray:
        """See `Source.weight`."""
        return self._read(self._key_of[path])

    def slot(self, path: str, name: str) -> np.ndarray | None:
        """See `Source.slot`."""
        if path not in self._path_of:
            return None
        flat = self._path_of[path].replace("/", "_").replace(":", "_")
        return self._of_optimizer(f"{flat}_{name}")

    def count(self, name: str) -> int | None:
        """See `Source.count`."""
        found = self._of_optimizer(name)
        return None if found is None else int(found)

    def _of_optimizer(self, name: str) -> np.ndarray | None:
        keys = [key for full, key in self._others.items() if full.partition("/")[2] == name]
        return self._read(keys[0]) if keys else None

    def _read(self, key: str) -> np.ndarray:
        try:
            return self._reader.get_tensor(key)
        except (tf.errors.OpError, IndexError, RuntimeError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())[:160]
        return InputError(
            f"init.from: {self._prefix.parent} cannot be read ({reason}); name another checkpoint or version"
        )
