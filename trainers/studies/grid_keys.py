"""Refuses keys of a run's config that a grid of trainings does not honour.

Imports no TensorFlow.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from tfstable.specs import Spec, TaskSpec

ONE_DEVICE, NO_RUN = "a grid trains on one device", "a training of a grid leaves its metrics and predictions alone"
_TRAINER = {
    **dict.fromkeys(("strategy", "devices", "start_minutes", "tpu", "tpu_table_gb"), ONE_DEVICE),
    **dict.fromkeys(
        (
            "checkpoint_minutes",
            "keep_checkpoints",
            "keep_weekly",
            "track_every",
            "sharpness_every",
            "task_gradients_every",
            "tensorboard",
        ),
        NO_RUN,
    ),
    "refit_windows": "a training of a grid keeps the moments of the first window",
}
# By key or section, the reason why no grid honours it.
OF_ANY_GRID = {f"trainer.{key}": reason for key, reason in _TRAINER.items()} | {
    "evaluation.compare_since": "a grid does not judge days",
    "evaluation.slices": "a grid measures whole days",
    "export": "a grid exports nothing",
    "init": "every training of a grid starts with new weights",
    "recovery": "a training of a grid that diverges is a result and does not go back",
}

# Values of such keys that ask for what a grid does anyway.
IN_EFFECT = {"trainer.tensorboard": False, "export.when": "never"}


def refuse(config: Spec, grid: str, keys: Mapping[str, str]) -> None:
    """Checks that keys have their defaults, or ask for what a grid does anyway, and that no task is calibrated.

    Args:
        config: The config.
        grid: The section of the grid, which begins the message.
        keys: Dotted keys or sections, each with the reason why it cannot be set.

    Raises:
        ValueError: If a key has another value; names the first one.
    """
    _refuse_calibration(_value(config, "tasks"), grid)
    for wanted, reason in keys.items():
        section, _, last = wanted.rpartition(".")
        spec = _value(config, section)
        default = type(spec).model_fields[last].get_default(call_default_factory=True, validated_data={})
        for key, usual in changes(getattr(spec, last), default, wanted):
            if key in IN_EFFECT and _value(config, key) == IN_EFFECT[key]:
                continue
            shown = "its default" if isinstance(usual, Spec) else "null" if usual is None else usual
            raise ValueError(f"{grid}: {key} is not honoured, {reason}; leave it at {shown}")


def _refuse_calibration(tasks: Mapping[str, TaskSpec], grid: str) -> None:
    for name, task in tasks.items():
        if task.calibrate is not None:
            reason = "a training of a grid does not evaluate each next day, to which maps are fitted"
            raise ValueError(f"{grid}: tasks.{name}.calibrate is not honoured, {reason}; leave it at false")


def _value(config: Spec, key: str) -> Any:
    """The value of a dotted key; the config itself for an empty one."""
    return functools.reduce(getattr, filter(None, key.split(".")), config)


def changes(value: Any, other: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted keys in which two parts of a config differ, each with its value in `other`."""
    if isinstance(value, Spec) and type(value) is type(other):
        for name, field in type(value).model_fields.items():
            inner = ".".join(filter(None, (key, field.alias or name)))
            yield from changes(getattr(value, name), getattr(other, name), inner)
    elif isinstance(value, dict) and isinstance(other, dict):
        for name in value | other:
            yield from changes(value.get(name), other.get(name), f"{key}.{name}")
    elif value != other:
        yield key, other
