"""Which features, tables, histories and tasks of a config a trained model knows. Imports no TensorFlow."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tfstable.data.columns import RawColumn
from tfstable.errors import InputError
from tfstable.inputs.statistics import table_name
from tfstable.log_columns import feature_columns
from tfstable.options import SequenceOptions
from tfstable.specs import (
    Categorical,
    CounterFeature,
    Feature,
    HashFeature,
    IdFeature,
    NumericFeature,
    QuantileFeature,
    RegressionTask,
    Spec,
    TaskSpec,
    VocabularyFeature,
    factors,
    living,
)
from trainers.config import Config
from trainers.inherit.source import Source

#: Keys that say where values come from, or how a table is trained: they do not change what the model computes of them.
#: What a counter counts (of) is told number by number; see `_counted`.
_PLACES = {"column", "columns", "by", "of", "type", "types", "table", "rate", "trainable", "pretrained"}
#: Keys that change the inputs somewhat: the weights still fit, predictions move.
_SOFT = {"pooling", "max_values", "keep", "delimiter", "half_life_days", "smoothing", "delay_days", "missing"}
#: Keys of the tables' sizes, which `rows.places` and the statistics treat, and of a file that a table starts from.
_SIZES = {"buckets", "max_size", "min_count", "boundaries", "moments", "pretrained_sha256"}
#: Keys by which ids get their rows: a map goes on by new ones.
_GIVING = {"kind", "capacity", "expire_days", "grow"}


@dataclass(frozen=True)
class Line:
    """A line of the plan.

    Attributes:
        part: The part of the model, such as "feature user_id".
        done: What becomes of it.
        note: Why, or how.
        exact: Whether predictions stay.
    """

    part: str
    done: Literal["copied", "made anew", "dropped"]
    note: str = ""
    exact: bool = True


@dataclass(frozen=True)
class Known:
    """What a trained model knows of a config: names there by name here.

    Attributes:
        features, sequences, tasks: Those that are copied.
        tables: Embedding tables by name; each with a feature here, and the feature there, that say how its rows match.
        lines: What becomes of each.
    """

    features: Mapping[str, str]
    sequences: Mapping[str, str]
    tasks: Mapping[str, str]
    tables: Mapping[str, tuple[str, str]]
    lines: list[Line] = field(default_factory=list)


def known(config: Config, columns: Mapping[str, RawColumn], source: Source, rename: Mapping[str, str]) -> Known:
    """Returns what is copied of a source, by name.

    Args:
        config: The config of the new run.
        columns: Raw columns of its features.
        source: The trained model.
        rename: Names here by name there.

    Raises:
        InputError: If `rename` has an unknown name, or nothing is in common.
    """
    kinds: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "features": (config.features, source.features),
        "tasks": (config.tasks, source.tasks),
        "sequences": (config.model.sequences, source.options.sequences),
    }
    _check_rename(rename, kinds)
    names = {kind: _counterparts(new, old, rename) for kind, (new, old) in kinds.items()}
    tasks, of_tasks = _tasks(config.tasks, source.tasks, names["tasks"])
    features, tables, of_features = _features(config, columns, source, names["features"], tasks)
    sequences, of_sequences = _sequences(config.model.sequences, source.options.sequences, names["sequences"], features)
    lines = [*of_features, *of_sequences, *of_tasks]
    if not features or not tasks:
        what, kind = ("feature", "features") if not features else ("task", "tasks")
        ours, theirs = kinds[kind]
        raise InputError(
            f"init.from: {source.name} has no {what} in common with this config: there {', '.join(theirs)}, here "
            f"{', '.join(ours)}; name another directory, or set init.rename"
        )
    return Known(features, sequences, tasks, tables, lines)


def _features(
    config: Config, columns: Mapping[str, RawColumn], source: Source, names: Mapping[str, str], tasks: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, tuple[str, str]], list[Line]]:
    features: dict[str, str] = {}
    tables: dict[str, tuple[str, str]] = {}
    lines = []
    for name, spec in config.features.items():
        part, old = f"feature {name}", names.get(name)
        if old is None:
            lines.append(Line(part, "made anew", "new: starts at zero"))
            continue
        before = source.features[old]
        reason = _changed(name, spec, columns, old, before, source)
        if reason := reason or _other_table(name, spec, old, tables, config, source):
            lines.append(Line(part, "made anew", reason, exact=False))
            continue
        features[name] = old
        soft, counted = _soft_changes(spec, before), _counted(spec, before, tasks)
        exact = not soft and not any(note.startswith("no longer") for note in counted)
        lines.append(Line(part, "copied", _note(name, old, [*soft, *counted]), exact))
        if isinstance(spec, Categorical | QuantileFeature):
            tables.setdefault(table_name(name, spec), (name, old))
    gone = [name for name in source.features if name not in names.values()]
    dropped = [Line(f"feature {name}", "dropped", "its mean contribution stays", exact=False) for name in gone]
    return features, tables, lines + dropped


def _counted(spec: Feature, before: Feature, tasks: Mapping[str, str]) -> list[str]:
    """What a counter counts now and did not count before, and the reverse."""
    if not (isinstance(spec, CounterFeature) and isinstance(before, CounterFeature)):
        return []
    more = [task for task in spec.of if tasks.get(task) not in before.of]
    less = [task for task in before.of if task not in map(tasks.get, spec.of)]
    notes = [f"counts {', '.join(more)}, too"] if more else []
    return notes + ([f"no longer counts {', '.join(less)}"] if less else [])


def _check_rename(rename: Mapping[str, str], kinds: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    for old, new in rename.items():
        there = [kind for kind, (_, theirs) in kinds.items() if old in theirs]
        if not there:
            every = [name for _, theirs in kinds.values() for name in theirs]
            raise InputError(f"init.rename: the source has no feature, task or sequence {old}{_hint(old, every)}")
        if not any(new in kinds[kind][0] for kind in there):
            every = [name for kind in there for name in kinds[kind][0]]
            raise InputError(f"init.rename: {old}: this config has no {new} among its {there[0]}{_hint(new, every)}")
    twice = [new for i, new in enumerate(rename.values()) if new in list(rename.values())[:i]]
    if twice:
        raise InputError(f"init.rename: two names become {twice[0]}; leave one out")


def _hint(name: str, names: Iterable[str]) -> str:
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there is {', '.join(names)}"


def _counterparts(new: Collection[str], old: Collection[str], rename: Mapping[str, str]) -> dict[str, str]:
    """Names there by name here, in the order here."""
    given = {n: o for o, n in rename.items() if o in old and n in new}
    moved = set(given.values())
    return {n: given.get(n, n) for n in new if n in given or (n in old and n not in moved)}


def _changed(
    name: str, spec: Feature, columns: Mapping[str, RawColumn], old: str, before: Feature, source: Source
) -> str | None:
    """Why the weights of a feature there do not fit; None if they do."""
    if spec.kind != before.kind and not (is_living(spec) and isinstance(before, VocabularyFeature | IdFeature)):
        return f"{spec.kind}, was {before.kind}"
    if is_living(before) and not is_living(spec):
        return "its values keep their rows, were given new ones"
    if is_living(before) and table_name(old, before) not in source.ids():
        return "an export does not say how often its ids were seen; name the run or a checkpoint"
    if isinstance(spec, Categorical):
        ours = [columns[column].dtype for column in feature_columns({name: spec})[name]]
        theirs = [source.statistics.columns[column].dtype for column in feature_columns({old: before})[old]]
        if ours != theirs:
            return f"of {' and '.join(ours)}, was of {' and '.join(theirs)}"
        given = spec.pretrained_sha256
        if given is not None and given != getattr(before, "pretrained_sha256", None):
            return "another pretrained file"
    if isinstance(spec, HashFeature) and isinstance(before, HashFeature) and spec.buckets % before.buckets:
        return f"buckets {before.buckets} -> {spec.buckets}, no multiple: no value finds its row again"
    if isinstance(spec, NumericFeature) and spec.moments and spec.moments != source.statistics.moments.get(old):
        return f"moments {source.statistics.moments.get(old)} -> {spec.moments}"
    if isinstance(spec, CounterFeature) and isinstance(before, CounterFeature) and len(spec.by) != len(before.by):
        return f"by {', '.join(spec.by)}, was by {', '.join(before.by)}"
    for key, value, was in _differences(spec, before):
        if key not in _PLACES | _SOFT | _SIZES | (_GIVING if is_living(spec) else set()):
            return f"{key} {was} -> {value}"
    return None


def is_living(spec: Feature) -> bool:
    """Whether the feature's map from value to row changes with the days."""
    return bool(living({"": spec}))


def _soft_changes(spec: Spec, before: Spec) -> list[str]:
    soft = _SOFT | ({"buckets"} if isinstance(spec, CounterFeature) else set())
    return [f"{key} {was} -> {value}" for key, value, was in _differences(spec, before) if key in soft]


def _differences(spec: Spec, before: Spec) -> list[tuple[str, Any, Any]]:
    ours, theirs = spec.model_dump(mode="json"), before.model_dump(mode="json")
    return [(key, value, theirs.get(key)) for key, value in ours.items() if value != theirs.get(key)]


def _other_table(
    name: str, spec: Feature, old: str, tables: Mapping[str, tuple[str, str]], config: Config, source: Source
) -> str | None:
    """Why the feature's table is another one than that of its counterpart; None if it is not."""
    if (found := tables.get(table_name(name, spec))) is None:
        return None
    wanted, taken = table_name(old, source.features[old]), table_name(found[1], source.features[found[1]])
    return None if wanted == taken else f"shares the table of {found[0]}, had one of its own"


def _note(name: str, old: str, notes: Iterable[str]) -> str:
    return "; ".join([*([f"was {old}"] if name != old else []), *notes])


def _sequences(
    new: Mapping[str, SequenceOptions],
    old: Mapping[str, SequenceOptions],
    names: Mapping[str, str],
    features: Mapping[str, str],
) -> tuple[dict[str, str], list[Line]]:
    found, lines = {}, []
    for name, spec in new.items():
        part = f"history {name}"
        if name not in names:
            lines.append(Line(part, "made anew", "new: starts at zero"))
            continue
        before = old[names[name]]
        changed = [
            f"{key} {was} -> {value}"
            for key, value, was in _differences(spec, before)
            if key not in ("features", "query")
        ]
        for key in ("features", "query"):
            if [features.get(feature) for feature in getattr(spec, key)] != list(getattr(before, key)):
                changed.append(f"other {key}")
        if changed:
            lines.append(Line(part, "made anew", "; ".join(changed), exact=False))
        else:
            found[name] = names[name]
            lines.append(Line(part, "copied", _note(name, names[name], [])))
    gone = [name for name in old if name not in names.values()]
    return found, lines + [Line(f"history {n}", "dropped", "its mean contribution stays", exact=False) for n in gone]


def _tasks(
    new: Mapping[str, TaskSpec], old: Mapping[str, TaskSpec], names: Mapping[str, str]
) -> tuple[dict[str, str], list[Line]]:
    found, lines = {}, []
    for name, task in new.items():
        part = f"task {name}"
        if name not in names:
            lines.append(Line(part, "made anew", "new: starts at its base rate"))
            continue
        before = old[names[name]]
        if _scale(task) != _scale(before):
            lines.append(Line(part, "made anew", f"{_scale(task)}, was {_scale(before)}", exact=False))
        else:
            found[name] = names[name]
            lines.append(Line(part, "copied", _note(name, names[name], [])))
    return found, lines + [Line(f"task {name}", "dropped") for name in old if name not in names.values()]


def _scale(task: TaskSpec) -> str:
    if of := factors(task):
        return f"product of {' and '.join(of)}"
    return f"regression of {task.transform}" if isinstance(task, RegressionTask) else task.kind
