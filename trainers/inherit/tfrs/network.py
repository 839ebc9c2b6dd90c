"""Cross layers, shared bottom and heads of a TFRS model, as options and weights of tfstable's `RankingModel`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfstable.errors import InputError
from trainers.inherit.tfrs.objects import Objects
from trainers.inherit.tfrs.spec import TaskLayers, TfrsModel
from trainers.inherit.tfrs.weights import Arrays, Weight

ACTIVATIONS = {
    "relu": "relu",
    "tanh": "tanh",
    "gelu": "gelu",
    "softplus": "softplus",
    "swish": "swish",
    "silu": "swish",
}
WITHOUT_WEIGHTS = ("Dropout", "InputLayer")


class Dense(NamedTuple):
    """A dense layer of TFRS: its path, variables and activation ("" if that is not saved)."""

    path: str
    kernel: int
    bias: int | None
    rows: int
    units: int
    activation: str


class Network(NamedTuple):
    """Options of the model, its weights by path, without embedding tables, and tasks that end with a sigmoid."""

    options: dict[str, Any]
    weights: dict[str, Weight]
    sigmoids: set[str]


def read_network(objects: Objects, spec: TfrsModel, order: np.ndarray) -> Network:
    """Reads everything behind the input vector.

    Args:
        objects: The saved model.
        spec: What is what.
        order: For each element of our input vector, its place in TFRS's.

    Raises:
        InputError: If layers are unknown, do not fit together, or have no counterpart in tfstable.
    """
    weights: dict[str, Weight] = {}
    options: dict[str, Any] = {"input_normalisation": "none", **_read_cross(objects, spec, order, weights)}
    bottom = _dense_layers(objects, spec.bottom, "bottom")
    towers = {name: _dense_layers(objects, task.layers, f"tasks.{name}.layers") for name, task in spec.tasks.items()}
    hidden = {name: layers[:-1] for name, layers in towers.items()}
    widths = {name: tuple(layer.units for layer in layers) for name, layers in hidden.items()}
    if len(set(widths.values())) > 1:
        shown = ", ".join(f"{name}: {list(units)}" for name, units in widths.items())
        raise InputError(f"tasks: tfstable's towers have the same widths, but here they differ ({shown})")
    options["units"] = tuple(layer.units for layer in bottom)
    options["tower_units"] = next(iter(widths.values()))
    options["activation"] = _activation(spec, [*bottom, *(layer for layers in hidden.values() for layer in layers)])
    x = _Input(len(order), order, "the inputs (" + " + ".join(spec.inputs) + ")")
    for i, layer in enumerate(bottom):
        x = _add(weights, f"bottom/dense_{i}", layer, x)
    for name, layers in towers.items():
        own, output = x, layers[-1]
        for i, layer in enumerate(layers[:-1]):
            own = _add(weights, f"tower_{name}/dense_{i}", layer, own)
        _check_output(name, spec.tasks[name], output)
        _add(weights, f"output_{name}", output, own)
    return Network(options, weights, {name for name, layers in towers.items() if layers[-1].activation == "sigmoid"})


class _Input(NamedTuple):
    """What a layer reads: its width, the order of its elements in TFRS (None: the same), and its name."""

    width: int
    order: np.ndarray | None
    name: str


def _read_cross(objects: Objects, spec: TfrsModel, order: np.ndarray, weights: dict[str, Weight]) -> dict[str, Any]:
    layers, width, number = objects.layers(spec.cross, "cross"), len(order), 0
    ranks: dict[str, int | None] = {}
    for path, node in layers.items():
        children, (_, config) = objects.children(node), objects.config(node)
        parts = [name for name in ("_dense_u", "_dense_v", "_dense") if name in children]
        if parts not in (["_dense"], ["_dense_u", "_dense_v"]):
            raise InputError(f"cross: {path} is no tfrs.layers.dcn.Cross; it has {', '.join(objects.attributes(node))}")
        if (activation := _name_of(config.get("preactivation"))) not in ("", "linear"):
            raise InputError(f"cross: {path} has the preactivation {activation}; tfstable's cross layers have none")
        diagonal = config.get("diag_scale") or 0.0 if spec.diag_scale is None else spec.diag_scale
        dense = [_dense(objects, f"{path}/{name}", children[name]) for name in parts]
        ranks[path] = dense[0].units if len(dense) > 1 else None
        if diagonal and ranks[path]:
            raise InputError(f"cross: {path} has diag_scale {diagonal:g} and a low rank, which tfstable does not have")
        if dense[0].rows != width or dense[-1].units != width:
            raise InputError(
                f"cross: {path} crosses inputs of width {dense[0].rows}, but the inputs ({' + '.join(spec.inputs)}) "
                f"have {width}; name all inputs, in the order in which the model concatenates them"
            )
        for layer in dense:
            shape, first, last = (layer.rows, layer.units), layer is dense[0], layer is dense[-1]
            below = f"cross/dense_{number}" if number else "cross/dense"
            plus = diagonal * np.eye(width, dtype=np.float32) if diagonal else 0.0
            weights[f"{below}/kernel"] = Weight((layer.kernel,), shape, _reordered(order, first, last), plus)
            if last:
                weights[f"{below}/bias"] = _bias(layer, order)
            number += 1
    if len(set(ranks.values())) > 1:
        raise InputError(f"cross: tfstable's cross layers have the same rank, but here they differ ({ranks})")
    return {"cross_depth": len(layers), "cross_rank": next(iter(ranks.values()), None)}


def _reordered(order: np.ndarray | None, rows: bool, columns: bool) -> Any:
    def turn(arrays: Arrays) -> np.ndarray:
        if order is None:
            return arrays[0]
        kernel = arrays[0][order] if rows else arrays[0]
        return kernel[:, order] if columns else kernel

    return turn


def _bias(layer: Dense, order: np.ndarray | None = None) -> Weight:
    if layer.bias is None:
        return Weight((), (layer.units,))
    return Weight((layer.bias,), (layer.units,), lambda arrays: arrays[0] if order is None else arrays[0][order])


def _add(weights: dict[str, Weight], name: str, layer: Dense, x: _Input) -> _Input:
    if layer.rows != x.width:
        raise InputError(
            f"{layer.path}: its kernel has the shape {(layer.rows, layer.units)}, but it would read {x.name}, of width "
            f"{x.width}; name all inputs and layers, in the order in which the model calls them"
        )
    turn = _reordered(x.order, rows=True, columns=False)
    weights[f"{name}/kernel"] = Weight((layer.kernel,), (layer.rows, layer.units), turn)
    weights[f"{name}/bias"] = _bias(layer)
    return _Input(layer.units, None, layer.path)


def _dense_layers(objects: Objects, paths: Sequence[str], key: str) -> list[Dense]:
    found = []
    for path, node in objects.layers(tuple(paths), key).items():
        if "kernel" in objects.children(node):
            found.append(_dense(objects, path, node))
        elif (kind := objects.config(node)[0]) not in WITHOUT_WEIGHTS and (kind or objects.attributes(node)):
            parts = ", ".join(objects.attributes(node))
            raise InputError(f"{key}: {path} is {kind or f'an object with {parts}'}; only Dense layers move over")
    return found


def _dense(objects: Objects, path: str, node: int) -> Dense:
    children, (_, config) = objects.children(node), objects.config(node)
    shape = objects.shape(children["kernel"])
    if len(shape) != 2:
        raise InputError(f"{path}: its kernel has the shape {shape}; only Dense layers move over")
    return Dense(path, children["kernel"], children.get("bias"), *shape, _name_of(config.get("activation")))


def _name_of(activation: Any) -> str:
    """An activation as configs write it: a name, or the config of a layer."""
    return activation if isinstance(activation, str) else "" if activation is None else str(activation)


def _activation(spec: TfrsModel, hidden: list[Dense]) -> str:
    found = {layer.activation: layer.path for layer in hidden if layer.activation}
    if len(found) > 1:
        shown = ", ".join(f"{path}: {name}" for name, path in found.items())
        raise InputError(f"tfstable's hidden layers have one activation, but here they differ ({shown})")
    name = spec.activation or next(iter(found), "relu")
    if name not in ACTIVATIONS:
        raise InputError(f"activation: tfstable has no {name}; it has {', '.join(sorted(set(ACTIVATIONS.values())))}")
    return ACTIVATIONS[name]


def _check_output(name: str, task: TaskLayers, output: Dense) -> None:
    allowed = ("", "linear", "sigmoid") if task.kind == "binary" else ("", "linear")
    if output.units != 1 or output.activation not in allowed:
        raise InputError(
            f"tasks.{name}.layers: the last one, {output.path}, must be a Dense of 1 unit with the activation "
            f"{' or '.join(allowed[1:])}; it has {output.units} and {output.activation or 'linear'}"
        )
