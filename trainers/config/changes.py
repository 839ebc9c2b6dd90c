"""Which keys differ between two configs, and when a running model may take each of them. Imports no TensorFlow."""

from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

from tfstable.specs import CHANGEABLE, OPERATIONAL, Spec
from trainers.config.clipping import WITH_STATE
from trainers.config.loading import set_key
from trainers.config.optimizer import EmaConfig, RuleConfig
from trainers.config.run import Config
from trainers.config.sections import WINDOW_END


class When(Enum):
    """When a run that has begun takes a changed key."""

    NEVER = "never"  # It changes shapes, or the meaning of weights or state.
    NOW = "now"
    WINDOW_END = "at the window's end"
    OPERATIONAL = "operational"  # Now, and the weights do not depend on it.


class Change(NamedTuple):
    """A key that differs.

    Attributes:
        key: Its dotted name.
        before, now: Its values, plain JSON; None where the key is missing.
        when: When a run may take it.
    """

    key: str
    before: Any
    now: Any
    when: When

    def __str__(self) -> str:
        return f"{self.key} ({self.before} -> {self.now})"


def changes(before: Config, now: Config) -> list[Change]:
    """Returns the keys that differ, in order. A feature or task that is new, gone or of another kind is one key."""
    old, new = _flat(before), _flat(now)
    differ = sorted(key for key in old.keys() | new.keys() if _value(old, key) != _value(new, key))
    whole = tuple(f"{key}." for key in differ if _names(old, key) or _names(new, key))
    return [
        Change(key, _value(old, key), _value(new, key), _when(key, old, new))
        for key in differ
        if not key.startswith(whole)
    ]


def window_keys(config: Config) -> dict[str, Any]:
    """Returns the keys that a window keeps from its first batch to its last: they number its batches."""
    return {key: leaf.value for key, leaf in _flat(config).items() if leaf.when is When.WINDOW_END}


def with_window_keys(config: Config, keys: dict[str, Any]) -> Config:
    """Returns a config with the values of an earlier `window_keys`; the same object if it has them already."""
    now = window_keys(config)
    if all(now.get(key) == value for key, value in keys.items()):
        return config
    raw = config.model_dump(mode="json", by_alias=True)
    for key, value in keys.items():
        set_key(raw, key, value, key)
    return type(config).model_validate(raw)


class _Leaf(NamedTuple):
    value: Any
    when: When
    names: bool = False  # Whether the key names a feature, a task or a group: its keys stand below it.


def _flat(config: Config) -> dict[str, _Leaf]:
    """The keys of a config, with the values that follow from the size of a batch."""
    flat, size = dict(_leaves(config, "", When.NEVER)), config.trainer.batch_size
    groups, averaging = config.optimizer.groups, config.optimizer.averaging
    name, rule = "optimizer.embeddings", config.optimizer.embeddings
    if groups is not None:
        name, rule = "optimizer.groups.embeddings", groups.get("embeddings", RuleConfig(rule="sgd"))
    if rule.rule == "adagrad":
        flat[f"{name}.initial_accumulator"] = _Leaf(rule.tables_accumulator(size), When.NOW)
    if isinstance(averaging, EmaConfig):
        flat["optimizer.averaging.horizon_steps"] = _Leaf(averaging.horizon(size), When.NOW)
    return flat


def _leaves(spec: Spec, prefix: str, outer: When) -> Iterator[tuple[str, _Leaf]]:
    for name, field in type(spec).model_fields.items():
        key, value, when = prefix + (field.alias or name), getattr(spec, name), _mark(field.json_schema_extra, outer)
        if isinstance(value, Spec):
            yield from _leaves(value, f"{key}.", when)
        elif isinstance(value, dict) and any(isinstance(inner, Spec) for inner in value.values()):
            for inner, each in value.items():
                yield f"{key}.{inner}", _Leaf(getattr(each, "kind", "given"), when, names=True)
                yield from _leaves(each, f"{key}.{inner}.", when)
        else:
            plain = spec.model_dump(mode="json", include={name}, by_alias=True)
            # `optimizer.dense` is not written where groups replace it; inside, values are never left out.
            yield key, _Leaf(plain.get(field.alias or name), when)


def _mark(extra: Any, outer: When) -> When:
    marks = {str(OPERATIONAL): When.OPERATIONAL, str(CHANGEABLE): When.NOW, str(WINDOW_END): When.WINDOW_END}
    return outer if outer is not When.NEVER else marks.get(str(extra), When.NEVER)


def _when(key: str, old: dict[str, _Leaf], new: dict[str, _Leaf]) -> When:
    is_sgd = _value(new, key.removesuffix("momentum") + "rule") == "sgd"
    if key.endswith(".momentum") and is_sgd and not (_value(old, key) and _value(new, key)):
        return When.NEVER  # Without momentum there is no velocity.
    if key.endswith(".clipping.kind") and _value(new, key) in WITH_STATE:
        return When.NEVER  # The state is missing.
    return (old.get(key) or new[key]).when


def _value(flat: dict[str, _Leaf], key: str) -> Any:
    return flat[key].value if key in flat else None


def _names(flat: dict[str, _Leaf], key: str) -> bool:
    return key in flat and flat[key].names
