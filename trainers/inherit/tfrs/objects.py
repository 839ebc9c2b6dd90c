"""The objects of a saved TFRS model: layers by path, variables, slots, vocabularies, configs of layers.

A TensorFlow checkpoint holds the graph of objects that it was written from, so no class of TFRS or Keras 2 is needed.
A SavedModel adds its lookup tables, and `keras_metadata.pb` the configs of its layers and optimizer.
"""

import difflib
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from tfstable.errors import InputError

# What Keras 2 saves beside the attributes that a model's author has named.
_OF_KERAS = re.compile(
    r"keras_api|signatures|(|trainable_|non_trainable_)variables|regularization_losses|_self_.*|__.*"
    r"|call_and_.*|_default_.*"
)


class Objects:
    """The objects of a SavedModel or a checkpoint.

    Args:
        saved_model: Directory of a SavedModel, or None.
        checkpoint: Prefix of a checkpoint or a directory of them, or None. One of the two is given.

    Attributes:
        place: What messages call the model.

    Raises:
        InputError: If it cannot be read.
    """

    def __init__(self, saved_model: Path | None, checkpoint: Path | None):
        place = saved_model or checkpoint
        assert place is not None  # Else there is no model.
        self.place, self._saved_model = place, saved_model
        prefix: Path | str | None = place / "variables" / "variables" if saved_model else place
        if not saved_model and place.is_dir():
            prefix = tf.train.latest_checkpoint(str(place))
        try:
            self._reader = tf.train.load_checkpoint(str(prefix))
            graph = self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            what = "saved_model" if saved_model else "checkpoint"
            reason = str(error).strip().partition("\n")[0][:160]
            raise InputError(f"{what}: {place} cannot be read ({reason})") from None
        self._nodes = TrackableObjectGraph.FromString(graph).nodes
        self._shapes = self._reader.get_variable_to_shape_map()

    def children(self, node: int) -> dict[str, int]:
        """Returns the objects that an object holds, by attribute."""
        return {child.local_name: child.node_id for child in self._nodes[node].children}

    def attributes(self, node: int) -> list[str]:
        """Returns the attributes that the model's author has named."""
        return [name for name in self.children(node) if not _OF_KERAS.fullmatch(name)]

    def find(self, path: str, key: str) -> int:
        """Returns the object at a path, from the root or from the root's attribute `model`.

        Raises:
            InputError: If there is none; it begins with `key` and names near paths.
        """
        roots = [0, self.children(0).get("model", 0)]
        reached = []
        for root in roots:
            node, done = root, ""
            for part in path.strip("/").split("/"):
                below = self.children(node)
                if part not in below:
                    break
                node, done = below[part], f"{done}{part}/"
            else:
                return node
            reached.append((len(done), done, node, part))
        _, done, node, part = max(reached)
        names = self.attributes(node)
        near = difflib.get_close_matches(part, names, n=3, cutoff=0.4) or sorted(names)[:8]
        hint = f"near: {', '.join(done + name for name in near)}" if near else f"{done or path} holds no objects"
        raise InputError(f"{key}: {self.place} has no object {path}; {hint}")

    def layers(self, paths: tuple[str, ...], key: str) -> dict[str, int]:
        """Returns layers by path; a Sequential among them gives its own, in their order."""
        found: dict[str, int] = {}
        for path in paths:
            node = self.find(path, key)
            inside = {name: child for name, child in self.children(node).items() if re.fullmatch(r"layer-\d+", name)}
            for name in sorted(inside, key=lambda name: int(name.partition("-")[2])):
                found[f"{path}/{name}"] = inside[name]
            if not inside:
                found[path] = node
        return found

    def shape(self, variable: int) -> tuple[int, ...]:
        return tuple(self._shapes[self._key(variable)])

    def value(self, variable: int) -> np.ndarray:
        return self._reader.get_tensor(self._key(variable))

    def is_variable(self, node: int) -> bool:
        return bool(self._attributes(node))

    def scalar(self, path: str) -> float | None:
        """Returns a number by its path; None if there is none."""
        node = 0
        for part in path.split("/"):
            if part not in (below := self.children(node)):
                return None
            node = below[part]
        return float(self.value(node)) if self.is_variable(node) else None

    # --- The optimizer.

    def accumulator(self, variable: int) -> np.ndarray | None:
        """Returns Adagrad's sum of squares of a variable; None if the optimizer has none of it."""
        slot = (self._slots or self._named_slots).get(variable)
        return None if slot is None else self.value(slot)

    @property
    def is_legacy(self) -> bool:
        """Whether the optimizer is one of `tf.keras.optimizers.legacy`."""
        return bool(self._slots)

    def has_accumulator(self, variable: int) -> bool:
        return variable in (self._slots or self._named_slots)

    @cached_property
    def _slots(self) -> dict[int, int]:
        """Slots by variable, as Keras's older optimizers store them."""
        return {
            slot.original_variable_node_id: slot.slot_variable_node_id
            for node in self._nodes
            for slot in node.slot_variables
            if slot.slot_name == "accumulator"
        }

    @cached_property
    def _named_slots(self) -> dict[int, int]:
        """Slots by variable, by name and shape, as newer optimizers store them; variables that are alike in order."""
        owners: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        slots: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for node in range(len(self._nodes)):
            if self._attributes(node):
                _, accumulator, variable = self._name(node).partition("/accumulator/")
                name = variable if accumulator else self._name(node)
                (slots if accumulator else owners).setdefault((name, self.shape(node)), []).append(node)
        trained = self.children(self.children(0).get("trainable_variables", 0))  # Only a SavedModel has this list.
        place = {node: int(number) for number, node in trained.items() if number.isdecimal()}
        found: dict[int, int] = {}
        for alike, of_slots in slots.items():
            of_variables = owners.get(alike, [])
            if len(of_slots) == len(of_variables) and (len(of_slots) == 1 or place.keys() >= set(of_variables)):
                of_variables.sort(key=lambda node: place.get(node, 0))
                found |= dict(zip(of_variables, of_slots, strict=True))
        return found

    def _attributes(self, node: int) -> list[Any]:
        return [a for a in self._nodes[node].attributes if a.name == "VARIABLE_VALUE"]

    def _key(self, variable: int) -> str:
        return self._attributes(variable)[0].checkpoint_key

    def _name(self, variable: int) -> str:
        return self._attributes(variable)[0].full_name

    # --- What only a SavedModel has.

    @property
    def has_tables(self) -> bool:
        return self._saved_model is not None

    def config(self, node: int) -> tuple[str, dict[str, Any]]:
        """Returns the class of a layer, such as "Cross", and its config; "" and {} where they are not saved."""
        metadata = self._metadata.get(node, {})
        config = metadata.get("config", {})
        return str(metadata.get("class_name", "")).rpartition(">")[2], config if isinstance(config, dict) else {}

    def optimizer(self) -> tuple[str, dict[str, Any]]:
        """Returns class and config of the optimizer that the model was compiled with; "" and {} where not saved."""
        training = self._metadata.get(0, {}).get("training_config") or {}
        saved = training.get("optimizer_config") or {}
        return saved.get("class_name", "").rpartition(">")[2], saved.get("config", {})

    @cached_property
    def _metadata(self) -> dict[int, dict[str, Any]]:
        """The metadata of Keras 2 by node; a checkpoint numbers nodes as the SavedModel around it."""
        file = self._saved_model and self._saved_model / "keras_metadata.pb"
        if file is None or not file.is_file():
            return {}
        from tensorflow.python.keras.protobuf.saved_metadata_pb2 import SavedMetadata  # Keras 2's own is not installed.

        return {node.node_id: json.loads(node.metadata) for node in SavedMetadata.FromString(file.read_bytes()).nodes}

    def lookup(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns keys and rows of the lookup table of a layer at a path, the smallest row first."""
        loaded, (first, *_) = self.loaded, path.split("/")
        if first not in self.children(0):  # As `find` has it.
            loaded = loaded.model
        for part in path.split("/"):
            loaded = _attribute(loaded, part)
        table = loaded.lookup_table
        (made,) = table._create_resource.concrete_functions  # A restored table does not state its types otherwise.
        types = next(op.node_def.attr for op in made.graph.get_operations() if "key_dtype" in op.node_def.attr)
        keys, rows = tf.raw_ops.LookupTableExportV2(
            table_handle=table.resource_handle, Tkeys=types["key_dtype"].type, Tvalues=types["value_dtype"].type
        )
        order = np.argsort(rows.numpy(), kind="stable")
        return keys.numpy()[order], rows.numpy()[order]

    def forget_loaded(self) -> None:
        """Frees the memory of `loaded`, a copy of all variables."""
        self.__dict__.pop("loaded", None)

    @cached_property
    def loaded(self) -> Any:
        """The SavedModel, loaded: its signatures run, and its tables are filled."""
        return tf.saved_model.load(str(self._saved_model))


def _attribute(loaded: Any, name: str) -> Any:
    if isinstance(loaded, list | tuple):
        return loaded[int(name)]
    return loaded[name] if isinstance(loaded, dict) else getattr(loaded, name)
