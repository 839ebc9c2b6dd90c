"""The layers of one ranking model from those of another: which weight comes from which, at which places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tfstable.models import RankingModel
from tfstable.specs import CounterFeature
from trainers.inherit.align import align
from trainers.inherit.experts import experts
from trainers.inherit.known import Known, Line
from trainers.inherit.moves import Carry, Fold, Move, Places, Zeros
from trainers.inherit.names import in_model


class Vector(NamedTuple):
    """What a layer reads.

    Attributes:
        places: The position there of each of its positions here.
        width: Its width there.
        mean: Its name in `sample.means`; empty if none is taken.
    """

    places: Places
    width: int
    mean: str = ""

    def gone(self) -> np.ndarray:
        """Returns the positions there that are not here."""
        return np.setdiff1d(np.arange(self.width), self.places)


@dataclass
class Layers:
    """What becomes of a model's weights, besides its tables.

    Attributes:
        moves: By path here.
        folds: What joins the biases.
        lines: What the user reads of it.
    """

    moves: dict[str, Move] = field(default_factory=dict)
    folds: list[Fold] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def layers(new: RankingModel, old: RankingModel, known: Known, members: int = 1) -> Layers:
    """Returns what becomes of the layers of a plain `RankingModel` or a `Committee`.

    Args:
        new: The new model.
        old: The model there; need not be built.
        known: What is copied by name.
        members: Members of the committee.
    """
    found = Layers()
    for name, was in known.features.items():
        if name in new.embeddings.features and (name in new.pooled) != (was in old.pooled):
            found.lines.append(
                Line(f"feature {name}", "copied", "its table alone: joins or leaves a history", exact=False)
            )
    _vectors_and_histories(found, new, old, known)
    x = Vector(_input_places(new, old, known), len(_input_names(old)))
    _cross(found, new, old, x)
    _layer_norms(found, new, old, x)
    parallel, was_parallel = (m.options.cross_arrangement == "parallel" for m in (new, old))
    if parallel != was_parallel and old.cross is not None:
        found.lines.append(Line("cross layers", "copied", "another arrangement", exact=False))
    for member in range(members):
        suffix = f"_{member}" if member else ""
        h = _stack(found, new, old, f"bottom{suffix}", f"bottom{suffix}", x._replace(mean="bottom"))
        heads = f"heads{suffix}"
        if new.expert_bottom is not None or old.expert_bottom is not None:
            h, heads = _experts(found, new, old, known, h, suffix), f"{heads}/{{task}}"
        if h is not None:
            places, width = h.places, h.width
            if parallel:
                beside = np.where(x.places >= 0, x.places + width, -1)
                places = np.concatenate([places, beside if was_parallel else np.full(len(beside), -1)])
            h = Vector(places, width + x.width if was_parallel else width, heads)
        _heads(found, new, old, known, h, suffix)
    _options(found, new, old)
    return found


def _input_names(model: RankingModel) -> list[tuple[str, str, int]]:
    """(kind, name, element) of each position of the model's input vector, in order."""
    widths = {("feature", name): model.embeddings.features[name].dim for name in model.pooled}
    widths |= {("feature", name): width for name, width in model.number_widths().items()}
    if model.histories is not None:
        widths |= {("history", name): width for name, width in model.histories.widths.items()}
    return [(*key, element) for key, width in widths.items() for element in range(width)]


def _input_places(new: RankingModel, old: RankingModel, known: Known) -> Places:
    at = {position: place for place, position in enumerate(_input_names(old))}
    names = {"feature": known.features, "history": known.sequences}
    places = []
    for kind, name, element in _input_names(new):
        there: tuple[str, str, int] | None = None
        if name in names[kind]:
            there = kind, names[kind][name], element
            ours, theirs = new.feature_specs.get(name), old.feature_specs.get(there[1])
            if kind == "feature" and isinstance(ours, CounterFeature) and isinstance(theirs, CounterFeature):
                there = _element_of_counter(there, ours, theirs, known.tasks)
        places.append(-1 if there is None else at.get(there, -1))
    return np.array(places, int)


def _element_of_counter(
    place: tuple[str, str, int], ours: CounterFeature, theirs: CounterFeature, tasks: Mapping[str, str]
) -> tuple[str, str, int] | None:
    """A counter has a number per task that it counts, then one for the rows."""
    kind, name, element = place
    if element == len(ours.of):
        return kind, name, len(theirs.of)
    task = tasks.get(ours.of[element])
    return (kind, name, theirs.of.index(task)) if task in theirs.of else None


def _vectors_and_histories(found: Layers, new: RankingModel, old: RankingModel, known: Known) -> None:
    prefixes = {f"vector_{name}/": f"vector_{old_name}/" for name, old_name in known.features.items()}
    prefixes |= {f"histories/{name}/": f"histories/{old_name}/" for name, old_name in known.sequences.items()}
    for path in paths(new):
        for prefix, was in prefixes.items():
            if path.startswith(prefix):
                found.moves[path] = Carry(was + path.removeprefix(prefix))


def paths(model: RankingModel) -> list[str]:
    """Returns the names of a built model's variables; see `names.in_model`."""
    return list(in_model(variable.path for variable in model.variables).values())


def _dense(layer: str, number: int) -> str:
    return f"{layer}/dense_{number}" if number else f"{layer}/dense"


def _cross(found: Layers, new: RankingModel, old: RankingModel, x: Vector) -> None:
    depth, was = new.options.cross_depth, old.options.cross_depth
    kinds = [(model.options.cross_rank, model.options.cross_experts) for model in (new, old)]
    copied = min(depth, was) if kinds[0] == kinds[1] else 0
    if was and depth and kinds[0] != kinds[1]:
        found.lines.append(Line("cross layers", "made anew", "another rank or number of experts", exact=False))
    elif was != depth:
        note = f"{was} layers -> {depth}" + ("; new ones start as the identity" if depth > was else "")
        found.lines.append(Line("cross layers", "copied" if depth else "dropped", note, exact=depth > was))
    for layer in range(depth):
        kernels, bias, last = _cross_kernels(new, layer, x.places)
        if layer >= copied:
            found.moves[last] = Zeros()
            continue
        found.moves |= {path: Carry(path, axes) for path, axes in kernels.items()}
        found.moves[bias] = Carry(bias, (x.places,))
        if len(gone := x.gone()) and new.options.cross_experts == 1:  # Mixtures are not linear in their input.
            found.folds.append(Fold(bias, f"cross_{layer}", gone, tuple(kernels), x.places))


def _cross_kernels(model: RankingModel, layer: int, x: Places) -> tuple[dict[str, tuple[Places | None, ...]], str, str]:
    """The axes of a cross layer's kernels by path, its bias, and the kernel that makes it the identity if zero."""
    if model.options.cross_experts > 1:
        base = f"cross/cross_{layer}/"
        axes = {"V": (x, None, None), "C": (None, None, None), "U": (None, None, x), "gate": (x, None)}
        return {base + name: places for name, places in axes.items()}, f"{base}bias", f"{base}U"
    if model.options.cross_rank is None:
        path = _dense("cross", layer)
        return {f"{path}/kernel": (x, x)}, f"{path}/bias", f"{path}/kernel"
    down, up = _dense("cross", 2 * layer), _dense("cross", 2 * layer + 1)
    return {f"{down}/kernel": (x, None), f"{up}/kernel": (None, x)}, f"{up}/bias", f"{up}/kernel"


def _layer_norms(found: Layers, new: RankingModel, old: RankingModel, x: Vector) -> None:
    for name in ("input_norm", "deep_norm"):
        if getattr(new, name) is not None and getattr(old, name) is not None:
            found.moves |= {f"{name}/{part}": Carry(f"{name}/{part}", (x.places,)) for part in ("gamma", "beta")}
    if new.input_norm is not None and not np.array_equal(x.places, np.arange(x.width)):
        note = "input_normalisation: layer mixes all inputs; features keeps them apart"
        found.lines.append(Line("input normalisation", "copied", note, exact=False))


def _block(stack: str, number: int, rezero: bool) -> str:
    return f"{stack}/rezero_{number}/sequential/" if rezero else f"{stack}/"


def _is_rezero(units: Sequence[int], rezero: bool) -> list[bool]:
    return [rezero and number > 0 and size == units[number - 1] for number, size in enumerate(units)]


def _stack(found: Layers, new: RankingModel, old: RankingModel, stack: str, old_stack: str, x: Vector) -> Vector | None:
    """Plans a stack of dense layers; returns what reads its output, None if the stack is lost."""
    is_bottom = stack.startswith("bottom")
    units, was = (model.options.units if is_bottom else model.options.tower_units for model in (new, old))
    rezero, rezero_was = (_is_rezero(u, is_bottom and m.options.rezero) for u, m in ((units, new), (was, old)))
    pairs = align(list(zip(units, rezero, strict=True)), list(zip(was, rezero_was, strict=True)))
    if pairs is None:
        how = f"units {list(was)} -> {list(units)}: only ReZero layers can join"
        found.lines.append(Line(stack, "made anew", how, exact=False))
        return None
    normalised = new.options.hidden_normalisation and old.options.hidden_normalisation
    for number, there in enumerate(pairs):
        base, size = _block(stack, number, rezero[number]), units[number]
        if there is None:
            found.lines.append(Line(f"{stack} layer {number}", "made anew", "ReZero: starts as the identity"))
            continue
        before, width = _block(old_stack, there, rezero_was[there]), was[there]
        out = np.where(np.arange(size) < width, np.arange(size), -1)
        kernel, bias = f"{before}dense_{there}/kernel", f"{base}dense_{number}/bias"
        found.moves[f"{base}dense_{number}/kernel"] = Carry(kernel, (x.places, out))
        found.moves[bias] = Carry(f"{before}dense_{there}/bias", (out,))
        if normalised:
            for part in ("gamma", "beta"):
                found.moves[f"{base}norm_{number}/{part}"] = Carry(f"{before}norm_{there}/{part}", (out,))
        if rezero[number]:
            found.moves[f"{stack}/rezero_{number}/alpha"] = Carry(f"{old_stack}/rezero_{there}/alpha")
        if x.mean and len(gone := x.gone()):
            found.folds.append(Fold(bias, x.mean, gone, (kernel,), out))
        if size != width:
            note = f"{width} units -> {size}" + ("; layer normalisation mixes them" if normalised else "")
            found.lines.append(Line(f"{stack} layer {number}", "copied", note, exact=size > width and not normalised))
        x = Vector(out, width)
    if lost := len(was) - sum(there is not None for there in pairs):
        found.lines.append(Line(stack, "dropped", f"{lost} of its ReZero layers", exact=False))
    return x


def _experts(
    found: Layers, new: RankingModel, old: RankingModel, known: Known, h: Vector | None, suffix: str
) -> Vector | None:
    """Plans the experts above the bottom; returns what the heads read, None if that is lost."""
    kinds = " -> ".join(model.options.bottom.kind for model in (old, new))
    planned = None
    if new.expert_bottom is not None and h is not None:
        planned = experts(new, old, known, paths(new), (h.places, h.gone()), suffix)
    if planned is None:
        lost = "copied only with the same keys, on layers that are known"
        note = f"model.bottom: {kinds}" if new.options.bottom.kind != old.options.bottom.kind else lost
        found.lines.append(Line(f"experts{suffix}", "made anew" if new.expert_bottom else "dropped", note, exact=False))
        return None
    moves, folds, lines = planned
    found.moves |= moves
    found.folds += folds
    found.lines += lines
    assert new.options.bottom.kind != "shared"
    width = new.options.bottom.units[-1]
    return Vector(np.arange(width), width)


def _heads(found: Layers, new: RankingModel, old: RankingModel, known: Known, h: Vector | None, suffix: str) -> None:
    """Plans towers and outputs on a representation; None: it is lost, and the tasks begin again."""
    for name in new.towers:
        output, t = f"output_{name}{suffix}", None
        if h is not None and (was := known.tasks.get(name)) is not None:
            own = h._replace(mean=h.mean.format(task=was))
            t = _stack(found, new, old, f"tower_{name}{suffix}", f"tower_{was}{suffix}", own)
        if t is None:
            found.moves[f"{output}/kernel"] = Zeros()  # Else a new task would start beside its base rate.
            continue
        kernel = f"output_{was}{suffix}/kernel"
        found.moves[f"{output}/kernel"] = Carry(kernel, (t.places, None))
        found.moves[f"{output}/bias"] = Carry(f"output_{was}{suffix}/bias")
        if t.mean and len(gone := t.gone()):
            found.folds.append(Fold(f"{output}/bias", t.mean, gone, (kernel,)))


def _options(found: Layers, new: RankingModel, old: RankingModel) -> None:
    """Tells of options that change what a layer computes of the same weights."""
    keys = ("activation", "beta", "slope_below", "activation_clip", "hidden_normalisation", "input_normalisation")
    for key in (*keys, *(["normalisation_epsilon"] if new.options.hidden_normalisation else [])):
        value, was = getattr(new.options, key), getattr(old.options, key)
        if value != was:
            found.lines.append(Line(f"model.{key}", "made anew", f"{was} -> {value}", exact=False))
