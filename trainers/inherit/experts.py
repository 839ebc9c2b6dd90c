"""The experts and gates of one ranking model from those of another."""

from collections.abc import Iterable, Mapping

import numpy as np

from tfstable.models import RankingModel
from tfstable.models.experts import SHARED, ExpertLevel
from trainers.inherit.known import Known, Line
from trainers.inherit.moves import Carry, Fold, Move, Places


def experts(
    new: RankingModel,
    old: RankingModel,
    known: Known,
    names: Iterable[str],
    reads: tuple[Places, np.ndarray],
    suffix: str,
) -> tuple[dict[str, Move], list[Fold], list[Line]] | None:
    """Plans experts on layers that are known; None if these experts have no counterpart there.

    Args:
        new: The new model, with experts.
        old: The model there; need not be built.
        known: What is copied by name.
        names: Names of the new model's variables; see `names.in_model`.
        reads: What the experts read: the position there of each position here, and the positions there that are gone.
        suffix: Of the committee's member.
    """
    assert new.expert_bottom is not None
    if old.expert_bottom is None or new.options.bottom != old.options.bottom:
        return None
    top, (places, gone) = f"experts{suffix}/", reads
    moves: dict[str, Move] = {}
    folds: list[Fold] = []
    lines: list[Line] = []
    prefixes: dict[str, str] = {}  # Paths there of layers by paths here.
    gates: dict[str, Places] = {}
    for level, there in zip(new.expert_bottom.levels, old.expert_bottom.levels, strict=True):
        experts_there = _experts_there(level, known.tasks)
        prefixes |= {f"{top}{level.name}/{n}/": f"{top}{level.name}/{was}/" for n, was in experts_there.items()}
        for group in level.gates:
            if group != SHARED and group not in known.tasks:
                continue
            seen = there.seen[SHARED if group == SHARED else known.tasks[group]]
            seen_here = [experts_there.get(name) for name in level.seen[group]]
            columns = np.array([-1 if name is None else seen.index(name) for name in seen_here], int)
            gate = f"{top}{level.name}/{level.gates[group].name}/"
            source = gate if group == SHARED else f"{top}{level.name}/gate_{known.tasks[group]}/"
            prefixes[gate], gates[gate] = source, columns
            if len(seen) != len(columns) or (columns < 0).any():
                lines.append(Line(gate.rstrip("/"), "copied", "a gate over other experts", exact=False))
    first = f"{top}{new.expert_bottom.levels[0].name}/"
    for path in names:
        for prefix, was in prefixes.items():
            if not path.startswith(prefix):
                continue
            axes: tuple[Places | None, ...] = (gates[prefix],) if prefix in gates else (None,)
            reads_input = path.startswith(first) and path.removeprefix(prefix) in ("kernel", "dense_0/kernel")
            if path.endswith("kernel"):
                axes = (places if reads_input else None, *axes)
            old_path = was + path.removeprefix(prefix)
            moves[path] = Carry(old_path, axes if path.endswith(("kernel", "bias")) else ())
            if reads_input and len(gone):
                folds.append(
                    Fold(path.removesuffix("kernel") + "bias", f"experts{suffix}", gone, (old_path,), gates.get(prefix))
                )
    return moves, folds, lines


def _experts_there(level: ExpertLevel, tasks: Mapping[str, str]) -> dict[str, str]:
    """Names there of a level's experts: shared ones, and those of tasks that are known."""
    found = {}
    for name, group in level.group_of.items():
        if group == SHARED:
            found[name] = name
        elif group in tasks:
            found[name] = f"of_{tasks[group]}_{name.rpartition('_')[2]}"
    return found
