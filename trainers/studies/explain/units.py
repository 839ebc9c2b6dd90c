"""Which features are explained together. Imports no TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfstable.errors import InputError
from tfstable.options import SequenceOptions

OF_HISTORY = "sequences/"  # Begins the name of a history's unit, as in `tfstable.analysis.integrated_gradients`.


class Unit(NamedTuple):
    """Features that are permuted together, and whose shares are added.

    Attributes:
        features: Their names.
        sequences: Names of the histories that read them.
    """

    features: tuple[str, ...]
    sequences: tuple[str, ...] = ()


def units(
    features: Sequence[str], sequences: Mapping[str, SequenceOptions], groups: Mapping[str, Sequence[str]]
) -> dict[str, Unit]:
    """Returns the units by name: each feature, with all columns that it reads, but for histories and groups.

    The features of a history are one unit: event by event they belong together. Histories that share a feature are one
    unit, too. The query of a history stays by itself.

    Args:
        features: Names of all features.
        sequences: The histories by name.
        groups: Names of features or histories by a name for them together.

    Raises:
        InputError: If a group names something that does not exist, a part of a history, or what another group has.
    """
    found: dict[str, Unit] = {}
    for name, sequence in sequences.items():
        joined = Unit(tuple(sequence.features), (name,))
        for other in [n for n, unit in found.items() if set(unit.features) & set(joined.features)]:
            unit = found.pop(other)
            both = tuple(dict.fromkeys([*unit.features, *joined.features]))
            joined = Unit(both, (*unit.sequences, *joined.sequences))
        found[OF_HISTORY + "+".join(joined.sequences)] = joined
    of_histories = {feature: name for name, unit in found.items() for feature in unit.features}
    found = {name: Unit((name,)) for name in features if name not in of_histories} | found
    for group, members in groups.items():
        if group in found:
            raise InputError(f"--group {group}: there is a feature or history of this name; choose another")
        parts = [_member(group, member, found, of_histories, features) for member in members]
        merged = [found.pop(name) for name in dict.fromkeys(parts)]
        found[group] = Unit(*(tuple(name for unit in merged for name in unit[kind]) for kind in (0, 1)))
    return found


def named_groups(given: Sequence[str]) -> dict[str, list[str]]:
    """Returns the groups of operands NAME=A,B.

    Raises:
        InputError: If one is not of this form, or a name comes twice.
    """
    groups: dict[str, list[str]] = {}
    for text in given:
        name, _, members = text.partition("=")
        if not name or not all(members.split(",")):
            raise InputError(f"--group {text}: write NAME=FEATURE,FEATURE, such as --group user=user_id,age")
        if name in groups:
            raise InputError(f"--group {text}: the name {name} is taken; name all its features at once")
        groups[name] = members.split(",")
    return groups


def _member(
    group: str, member: str, found: Mapping[str, Unit], of_histories: Mapping[str, str], features: Sequence[str]
) -> str:
    """The unit that a group names."""
    if member in found and member in features:
        return member
    if history := next((name for name, unit in found.items() if member in unit.sequences), None):
        return history
    if member in of_histories and of_histories[member] in found:
        history = found[of_histories[member]].sequences[0]
        raise InputError(f"--group {group}: {member} belongs to a history; name that, {history}")
    if member in features or member in of_histories:
        raise InputError(f"--group {group}: another group has {member} already")
    raise InputError(f"--group {group}: no feature {member}; the features are {', '.join(features)}")
