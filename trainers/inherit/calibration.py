"""Calibration maps of a trained model, for a new one. Imports no TensorFlow."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from tfstable.calibration import Histogram, Knots
from tfstable.specs import TaskSpec
from trainers.inherit.known import Known, Line

FOLDER = "calibration/"  # Of the maps, among the paths of a model's weights.


def stored_maps(tasks: Mapping[str, TaskSpec], weight: Callable[[str], np.ndarray]) -> dict[str, Any]:
    """Returns what a checkpoint would keep of an export, which has the maps, but not what they are fitted from.

    Args:
        tasks: Its tasks.
        weight: Reads one of its weights by path.
    """
    found = {}
    for name, task in tasks.items():
        if task.calibrate is not None:
            knots = Knots.unpacked(weight(FOLDER + name)).to_json()
            found[name] = {"histogram": Histogram.empty().to_json(), "earlier": knots, "map": knots}
    return {"through": None, "tasks": found}


def packed_maps(tasks: Mapping[str, TaskSpec], stored: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Returns the maps of a checkpoint by path; the identity for a task that was not calibrated yet.

    Args:
        tasks: The tasks of its run.
        stored: What the checkpoint keeps; None: nothing.
    """
    kept = {} if stored is None else stored["tasks"]
    return {
        FOLDER + name: (Knots.from_json(kept[name]["map"]) if name in kept else Knots.identity()).packed()
        for name, task in tasks.items()
        if task.calibrate is not None
    }


def calibrated_tasks(
    calibrated: Collection[str], known: Known, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, str], list[Line]]:
    """Plans the maps of a new model.

    Args:
        calibrated: Its calibrated tasks.
        known: What the source knows of the config.
        shapes: Shapes of the source's weights by path.

    Returns:
        Paths of the maps there by path here; and lines on each.
    """

    paths, lines = {}, []
    for name in calibrated:
        old = known.tasks.get(name)
        if old is not None and FOLDER + old in shapes:
            paths[FOLDER + name] = FOLDER + old
            lines.append(Line(f"calibration of {name}", "copied"))
        else:
            lines.append(Line(f"calibration of {name}", "made anew", "new: changes nothing until it has data"))
    for name, old in known.tasks.items():
        if FOLDER + old in shapes and name not in calibrated:
            lines.append(Line(f"calibration of {old}", "dropped", f"{name} is not calibrated here", exact=False))
    return paths, lines
