"""Moves a model to new moments of its numeric features, without a change of its predictions where that is possible."""

from typing import Any

import keras
import numpy as np

from tfstable.inputs.statistics import Statistics, scaling
from tfstable.models import RankingModel
from tfstable.specs import NumericFeature
from trainers.build.learner import Learner

# By which power of the gradients a slot scales.
POWERS = {"accumulator": 2, "square": 2, "row": 2, "mean": 1, "velocity": 1}


def rescale(learner: Learner, new: Statistics) -> None:
    """Changes the dense layers that read numeric features, so that they put out the same from numbers scaled anew.

    A number t enters as x = (t - m) / s, from now on as x' = (t - m') / s'. So x = a x' + c with a = s'/s and
    c = (m' - m)/s, and a layer W x + b becomes

        W' = a W,  b' = b + c W

    for the weights and their averages. A gradient with respect to W' is the 1/a-fold; slots are scaled alike.
    It is the same function to rounding if only dense layers read the input. Behind cross layers or a layer
    normalisation of the input, and in a class that replaces one of the stages, weights stay, and predictions change.

    Args:
        learner: The learner. Call this in cross-replica context.
        new: The statistics from now on; they become the model's.
    """
    model = learner.model
    layers, rows = first_layers(model), number_rows(model)
    a, c = (np.array(each) for each in zip(*(_map(name, model, new) for name in model.numeric), strict=True))
    for layer in layers:
        kernel, bias = layer.kernel, layer.bias
        pairs = [(kernel, bias)]
        if (averaging := learner.optimizer.averaging) is not None:
            pairs.append((averaging.average(kernel), averaging.average(bias)))
        for weights, offsets in pairs:
            W, b = (each.numpy().astype(np.float64) for each in (weights, offsets))
            offsets.assign(b + c @ W[rows])
            W[rows] *= a[:, None]
            weights.assign(W)
        slots = learner.optimizer.slots_of(kernel)
        scale = np.where(a == 0, 1.0, a)
        before = np.mean(slots["row"].numpy(), dtype=np.float64) if "row" in slots else 1.0
        for name, slot in slots.items():
            if name != "column":
                values = slot.numpy().astype(np.float64)
                values[rows] /= (scale if values.ndim == 1 else scale[:, None]) ** POWERS[name]
                slot.assign(values)
        if "row" in slots and before:  # Adafactor's squares are row * column / mean(row).
            slots["column"].assign(slots["column"].numpy() * (np.mean(slots["row"].numpy(), dtype=np.float64) / before))
    model.statistics = new


def first_layers(model: RankingModel) -> list[keras.layers.Dense]:
    """Returns the dense layers that read the model's input as it is; empty if other layers do so."""
    stages = ("embed", "sequence", "interact", "shared_bottom", "heads", "call")
    own = all(getattr(type(model), stage) is getattr(RankingModel, stage) for stage in stages)
    if not own or model.cross is not None or model.input_norm is not None:
        return []
    if isinstance(first := model.bottom.layers[0], keras.layers.Dense):
        return [first]
    if model.expert_bottom is not None:
        return model.expert_bottom.first_layers()
    towers = {name: tower.layers[0] for name, tower in model.towers.items()}
    return [each if isinstance(each, keras.layers.Dense) else model.outputs_of[n] for n, each in towers.items()]


def number_rows(model: RankingModel) -> np.ndarray:
    """Returns the places of the numeric features in the model's input, `(numeric features,)`."""
    embedded = sum(getattr(model.feature_specs[name], "dim", 0) for name in model.pooled)
    return embedded + np.arange(len(model.numeric))


def _map(name: str, model: RankingModel, new: Statistics) -> tuple[float, float]:
    """a and c of a feature."""
    feature: Any = model.feature_specs[name]
    assert isinstance(feature, NumericFeature)
    old, now = scaling(name, feature, model.statistics), scaling(name, feature, new)
    if old.offset == now.offset and old.scale == now.scale:
        return 1.0, 0.0
    return float(old.scale / now.scale), float((now.offset - old.offset) * old.scale)
