"""What a new model takes over of a trained one: a table to read, and the moves that carry it out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import signature

import numpy as np
from rich.table import Table

from tfstable.errors import InputError
from tfstable.layers import Embeddings
from tfstable.models import Committee, RankingModel
from trainers.inherit.calibration import FOLDER, calibrated_tasks
from trainers.inherit.known import Known, Line
from trainers.inherit.layers import layers
from trainers.inherit.moves import Carry, Fold, Move, Read, Stack, TablePart
from trainers.inherit.names import in_model
from trainers.inherit.rows import Rows, rows
from trainers.inherit.source import Source

_STAGES = (
    *("call", "embed", "sequence", "interact", "shared_bottom", "heads", "wide_logits"),
    *("numbers", "dense_stack", "output_layer"),
)
#: Where the weights of these stages are.
_STANDARD = (
    *("embeddings/", "wide/", "histories/", "vector_", "cross/", "input_norm/", "deep_norm/"),
    *("bottom", "experts", "tower_", "output_", "loss_weights/"),
)


@dataclass(frozen=True)
class Plan:
    """What becomes of each part of a model.

    Attributes:
        source: The trained model.
        lines: What the user reads.
        moves: By name of the weight in the new model.
        folds: What joins its biases.
    """

    source: Source
    lines: list[Line]
    moves: Mapping[str, Move]
    folds: list[Fold]

    @property
    def exact(self) -> bool:
        """Whether predictions stay, but for rounding."""
        return all(line.exact for line in self.lines)

    def weight(self, path: str, fresh: np.ndarray, read: Read, means: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns a weight of the new model.

        Args:
            path: Its name; see `names.in_model`.
            fresh: Its value in a new model.
            read: Reads weights of the source.
            means: What `folds` ask for.
        """
        value = self.moves[path](fresh, read, True) if path in self.moves else fresh
        for fold in self.folds:
            if fold.bias == path:
                value = fold(value, means[fold.mean], read)
        return value

    def slot(self, path: str, fresh: np.ndarray, read: Read) -> np.ndarray:
        """Returns the optimizer's state of a weight: new parts of it stay as they are in a new optimizer."""
        return self.moves[path](fresh, read, False) if path in self.moves else fresh

    def factor(self, path: str, fresh: np.ndarray, read: Read, axis: int) -> np.ndarray:
        """Returns a state that is a mean over an axis of the weight; its new parts are the mean of the known ones."""
        move = self.moves.get(path)
        found = read(move.old) if isinstance(move, Carry) else None
        if found is None or not isinstance(move, Carry):
            return fresh
        return move.without(axis, fresh.ndim + 1)(np.full_like(fresh, found.mean()), read, False)

    def table(self) -> Table:
        """Returns the plan as a table for the console."""
        table = Table("part", "what becomes of it", "", title=f"initialised from {self.source.name}")
        for line in self.lines:
            table.add_row(line.part, line.done, line.note if line.exact else f"{line.note or line.done} (not exact)")
        return table


def plan(new: RankingModel, source: Source, known: Known) -> Plan:
    """Plans what a built model takes over.

    Args:
        new: The model.
        source: The trained model.
        known: What it knows of the config, by name.

    Raises:
        InputError: If the source's config does not make a model.
    """
    try:
        old = RankingModel(source.features, source.tasks, source.statistics, **source.options.model_dump())
    except (TypeError, ValueError) as error:
        raise InputError(f"init.from: {source.name}: {error}") from None
    if not isinstance(new.embeddings, Embeddings):
        raise InputError("init.from: tables on SparseCores cannot be filled; begin the run on another device")
    lines = list(known.lines)
    members = members_of(new, source)
    moves, folds = _tables(new, old, known, source, lines, members or 1)
    if members is not None:
        found = layers(new, old, known, members)
        moves, folds, lines = found.moves | moves, [*folds, *found.folds], [*lines, *found.lines]
    else:  # Only its author knows what a subclass does with the weights.
        lines = [replace(line, note="new", exact=False) if line.note.startswith("new: ") else line for line in lines]
        lines.append(Line(f"model {type(new).__name__}", "copied", "stages of its own: weights by path", exact=False))
        folds = []
    if (precision := new.dtype_policy.name) != source.precision:
        lines.append(Line("precision", "copied", f"{source.precision} -> {precision}: rounds otherwise", exact=False))
    _loss_weights(moves, new, old, known, lines)
    names, shapes = in_model(variable.path for variable in new.variables), source.shapes()
    paths, calibrated = calibrated_tasks(new.calibration, known, shapes)
    moves, lines = moves | {path: Carry(old) for path, old in paths.items()}, [*lines, *calibrated]
    for path in [path for path, move in moves.items() if isinstance(move, Carry) and move.old not in shapes]:
        del moves[path]
        if "seed_generator" not in path:
            lines.append(Line(path, "made anew", "not there", exact=False))
    for variable in new.variables:
        path, is_seed = names[variable.path], "seed_generator" in variable.path
        if (
            path in moves
            or path.startswith(FOLDER)
            or (members is not None and not is_seed and path.startswith(_STANDARD))
        ):
            continue  # Its move, or fresh on purpose.
        if shapes.get(path) == tuple(variable.shape):
            moves[path] = Carry(path)
        elif not is_seed:
            note = f"shape {tuple(variable.shape)}, was {shapes.get(path, 'not there')}"
            lines.append(Line(path, "made anew", note, exact=False))
    return Plan(source, lines, moves, folds)


def members_of(model: RankingModel, source: Source) -> int | None:
    """Returns how many bottoms both models have, 1 but in a `Committee`.

    Returns:
        None if stages of one of them are its own, or they differ in number. (A subclass may have another loss.)
    """
    ours, own = type(model), f"{type(model).__module__}.{type(model).__qualname__}"
    for base in (RankingModel, Committee):
        if all(getattr(ours, stage) is getattr(base, stage) for stage in _STAGES):
            if source.model_class not in (own, f"tfstable.models.{base.__name__}"):
                return None
            members, usual = getattr(model, "members", 1), signature(base).parameters.get("members")
            there = source.model_options.get("members", usual.default if usual else 1)
            return members if there == members else None
    return None


def _tables(
    new: RankingModel, old: RankingModel, known: Known, source: Source, lines: list[Line], members: int
) -> tuple[dict[str, Move], list[Fold]]:
    """Plans the embedding tables and the wide part's; adds to `lines`."""
    found: dict[str, Rows] = {}
    for table, (name, before) in known.tables.items():
        ours, theirs = new.feature_specs[name], source.features[before]
        found[table] = rows(name, ours, new.statistics, before, theirs, source.statistics)
        lines.append(Line(f"table {table}", "copied", found[table].note, found[table].exact))
    moves = _stacks("embeddings", new.embeddings, old.embeddings, found, known, None)
    if new.wide is None and old.wide is None:
        return moves, []
    if old.wide is None:
        lines.append(Line("wide part", "made anew", "new: starts at zero"))
        return moves, []
    columns = [known.tasks.get(task) for task in new.wide_tasks]
    places = np.array([old.wide_tasks.index(task) if task in old.wide_tasks else -1 for task in columns], int)
    kept: set[str] = set()
    if new.wide is not None:
        moves |= _stacks("wide", new.wide, old.wide, found, known, places)
        kept = {known.features[name] for name in new.wide.features if name in known.features}
    else:
        lines.append(Line("wide part", "dropped", "its mean contribution stays", exact=False))
    gone = [number for number, name in enumerate(old.wide.features) if name not in kept]
    folds = []
    for name, task in known.tasks.items():
        if gone and task in old.wide_tasks:
            of_task = np.array(gone) * len(old.wide_tasks) + old.wide_tasks.index(task)
            outputs = [f"output_{name}", *(f"output_{name}_{member}" for member in range(1, members))]
            folds += [Fold(f"{output}/bias", "wide", of_task, ()) for output in outputs]  # Their mean is the logit.
    return moves, folds


def _loss_weights(
    moves: dict[str, Move], new: RankingModel, old: RankingModel, known: Known, lines: list[Line]
) -> None:
    """Plans the learned weights of the losses, a number per task."""
    if new.task_weights is None:
        return
    if type(new.task_weights) is not type(old.task_weights):
        lines.append(Line("loss weights", "made anew", f"model.loss_weights: {new.options.loss_weights}"))
        return
    there = old.task_weights.tasks
    places = np.array([there.index(known.tasks[n]) if n in known.tasks else -1 for n in new.task_weights.tasks], int)
    for variable in new.task_weights.variables:
        path = f"loss_weights/{variable.name}"
        moves[path] = Carry(path, (places,))


def _stacks(
    layer: str, new: Embeddings, old: Embeddings, found: Mapping[str, Rows], known: Known, columns: np.ndarray | None
) -> dict[str, Move]:
    parts: dict[str, list[TablePart]] = {}
    there = old.places()
    for table, (variable, start, _) in new.places().items():
        if table not in found:
            continue
        before = old.features.get(known.tables[table][1])
        if before is None:  # The wide part has the pooled features alone.
            continue
        was, was_start, was_rows = there[before.table]
        part = TablePart(start, f"{layer}/{was}", was_start, was_rows, found[table].old, found[table].joined, columns)
        parts.setdefault(f"{layer}/{variable}", []).append(part)
    return {path: Stack(tuple(of_path)) for path, of_path in parts.items()}
