"""Names of weights that are the same in every process."""

import re
from collections.abc import Iterable

#: Parts of a model whose layers have names of their own, except those of `_UNNAMED`. Keras numbers others by process.
_NAMED = re.compile(r"embeddings|wide|histories|bottom|experts|tower_|output_|vector_|cross/cross_")
_UNNAMED = ("sequential", "dropout", "seed_generator")
_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?")


def in_model(paths: Iterable[str]) -> dict[str, str]:
    """Returns the name of each variable below its model, by the variable's path.

    The model's own name goes, and numbers that Keras gave out count from 0 among layers of one kind in one place:
    "ranking_model_1/cross/dense_7/kernel" becomes "cross/dense_1/kernel" if cross/dense_6 comes before it.

    Args:
        paths: Paths of all variables of one model.
    """
    below = {path: path.partition("/")[2].split("/") for path in paths}
    siblings: dict[tuple[str, ...], set[str]] = {}
    for parts in below.values():
        for depth, part in enumerate(parts[:-1]):
            siblings.setdefault(tuple(parts[:depth]), set()).add(part)
    renamed = {above: _renumbered(above, names) for above, names in siblings.items()}
    return {
        path: "/".join([*(renamed[tuple(parts[:i])][part] for i, part in enumerate(parts[:-1])), parts[-1]])
        for path, parts in below.items()
    }


def _renumbered(above: tuple[str, ...], names: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    count: dict[str, int] = {}
    for name in sorted(names, key=_number):
        stem, _ = _number(name)
        if stem not in _UNNAMED and _NAMED.match("/".join([*above, name])):
            found[name] = name
            continue
        index = count[stem] = count.get(stem, -1) + 1
        found[name] = stem if not index else f"{stem}_{index}"
    return found


def _number(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    assert match is not None  # It matches every text.
    return match[1], int(match[2] or 0)
