"""Inputs of a TFRS model as features of tfstable, with their embedding tables."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from tfstable.data.columns import RawColumn
from tfstable.errors import InputError
from tfstable.specs import Feature, HashFeature, NumericFeature, QuantileFeature, VocabularyFeature
from trainers.inherit.tfrs.objects import Objects
from trainers.inherit.tfrs.spec import InputSpec

Found: TypeAlias = dict[str, tuple[str, int]]  # Path and object of each layer, by kind.

LEAST_DEVIATION = 1e-7  # Normalization divides by no less.


class Input(NamedTuple):
    """An input in the terms of tfstable.

    Attributes:
        feature: Its spec.
        column: Its raw column.
        width: Its width in the model's input vector.
        embedding: The variable of its embedding; None for a number.
        rows: Rows of our table.
        turn: Makes our table, or its slot, from TFRS's.
        vocabulary: Values of rows 1, 2, ... of a lookup.
        remark: What the user should know about it.
        has_unknown: Whether an unknown value finds the row that it had.
    """

    feature: Feature
    column: RawColumn
    width: int
    embedding: int | None = None
    rows: int = 0
    turn: Callable[[np.ndarray], np.ndarray] = lambda table: table
    vocabulary: list[int] | list[str] | None = None
    remark: str | None = None
    has_unknown: bool = True


def read_input(objects: Objects, name: str, spec: InputSpec) -> Input:
    """Reads an input's layers.

    Raises:
        InputError: If they are not known, do not fit together, or are not saved and no key gives them.
    """
    key = f"inputs.{name}"
    layers = objects.layers(spec.layers, f"{key}.layers")
    found: Found = {}
    for path, node in layers.items():
        kind = _kind(objects, node, spec)
        if kind == "shape":
            continue
        if kind is None or kind in found:
            what = objects.config(node)[0] or f"an object with {', '.join(objects.attributes(node)) or 'no parts'}"
            twice = f"a second layer of kind {kind}" if kind else what
            raise InputError(
                f"{key}.layers: {path} is {twice}; an input has one StringLookup, IntegerLookup, Hashing or "
                "Discretization and one Embedding, or one Normalization"
            )
        found[kind] = path, node
    if "embedding" not in found:
        return _number(objects, spec, found, key)
    path, node = found["embedding"]
    embedding = objects.children(node)["embeddings"]
    height, dim = objects.shape(embedding)
    if spec.boundaries or "discretization" in found:
        return _buckets(objects, spec, found, key, embedding, height, dim)
    if spec.hash_bins or "hashing" in found:
        return _hashed(objects, spec, found, key, embedding, height, dim)
    values, oov, mask = _vocabulary(objects, spec, found, key)
    text = not values or isinstance(values[0], str)
    first = oov + mask  # The row of the first value.
    if first + len(values) > height:
        raise InputError(
            f"{key}: the lookup has {len(values)} values behind {first} rows for others, but {path} has only {height} "
            f"rows; is {spec.vocabulary or 'that its lookup'}?"
        )
    kept = [i for i, value in enumerate(values) if value != ""]
    remarks = []
    if oov != 1:
        remarks.append(f"{oov} rows of unknown values become one, their mean" if oov else "unknown values had no row")
    if mask or len(kept) < len(values):
        remarks.append("missing values had a row of their own; here they share that of unknown ones")

    def rows(table: np.ndarray) -> np.ndarray:
        unknown = table[mask:first].mean(axis=0) if oov else table[:first].mean(axis=0) if first else table.mean(axis=0)
        return np.concatenate([unknown[None], table[first:][kept]]).astype(table.dtype)

    return Input(
        VocabularyFeature(
            kind="vocabulary",
            column=spec.column,
            type="string" if text else "int",
            dim=dim,
            max_size=max(1, len(kept)),
        ),
        RawColumn(dtype="string" if text else "int64"),
        dim,
        embedding,
        len(kept) + 1,
        rows,
        [values[i] for i in kept],
        f"{key}: {'; '.join(remarks)}" if remarks else None,
        oov == 1,
    )


def _kind(objects: Objects, node: int, spec: InputSpec) -> str | None:
    """What a layer does; "shape" if nothing to the values."""
    children, layer = objects.children(node), objects.config(node)[0]
    if "embeddings" in children:
        return "embedding"
    if "lookup_table" in children:
        return "lookup"
    if {"mean", "variance"} <= children.keys():
        return "normalization"
    if "bin_boundaries" in children or layer == "Discretization":
        return "discretization"
    if layer == "Hashing":
        return "hashing"
    if layer in ("InputLayer", "Flatten", "Reshape"):
        return "shape"
    if layer or objects.attributes(node):
        return None
    return "hashing" if spec.hash_bins else "shape"  # Nothing of such a layer is in a checkpoint.


def _vocabulary(objects: Objects, spec: InputSpec, found: Found, key: str) -> tuple[list, int, bool]:
    """The values in the order of their rows, the number of rows of unknown ones, whether row 0 is a mask's."""
    config = objects.config(found["lookup"][1])[1] if "lookup" in found else {}
    oov = config.get("num_oov_indices", 1) if spec.oov is None else spec.oov
    mask = config.get("mask_token") is not None if spec.mask is None else spec.mask
    if spec.vocabulary is not None:
        try:
            lines = spec.vocabulary.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{key}.vocabulary: {spec.vocabulary} cannot be read ({reason})") from None
        return _typed(lines, spec, key), oov, mask
    if "lookup" not in found or not objects.has_tables:
        raise InputError(
            f"{key}: {objects.place} does not hold the vocabulary; name a text file of it, one value per line, in "
            f"{key}.vocabulary, or the SavedModel, with its lookup among {key}.layers"
        )
    path = found["lookup"][0]
    keys, rows = objects.lookup(path)
    if not config and spec.oov is None and spec.mask is None and (start := int(rows.min())) != 1:
        raise InputError(
            f"{key}: values of {path} begin at row {start}; say how many rows before them are of unknown values "
            f"({key}.oov), and whether row 0 is of a mask token ({key}.mask)"
        )
    first, text = oov + mask, keys.dtype == object
    if list(rows) != list(range(first, first + len(rows))):
        raise InputError(
            f"{key}: values of {path} have rows {rows.min()} to {rows.max()}, not {len(rows)} rows from {first} on; "
            f"correct {key}.oov or {key}.mask"
        )
    return _typed([value.decode() if text else int(value) for value in keys], spec, key), oov, mask


def _typed(values: list, spec: InputSpec, key: str) -> list:
    """The values in the type of the column."""
    if spec.type is None or not values or isinstance(values[0], str) == (spec.type == "string"):
        return values
    try:
        return [int(value) for value in values] if spec.type == "int" else [str(value) for value in values]
    except ValueError as error:
        raise InputError(f"{key}.type: a value of the vocabulary is no integer ({error}); drop type: int") from None


def _buckets(
    objects: Objects,
    spec: InputSpec,
    found: Found,
    key: str,
    embedding: int,
    height: int,
    dim: int,
) -> Input:
    node = found["discretization"][1] if "discretization" in found else None
    saved = objects.config(node)[1].get("bin_boundaries") if node is not None else None
    boundaries = spec.boundaries or saved
    if not boundaries:
        raise InputError(f"{key}: {objects.place} does not hold the boundaries; give them in {key}.boundaries")
    limits = [float(x) for x in np.asarray(boundaries, np.float32)]  # As Discretization compares them.
    if len(limits) + 1 > height:
        raise InputError(
            f"{key}: {len(limits)} boundaries make {len(limits) + 1} buckets, but {found['embedding'][0]} has only "
            f"{height} rows"
        )

    def rows(table: np.ndarray) -> np.ndarray:  # Discretization counts NaN as above every boundary.
        return np.concatenate([table[len(limits) :][:1], table[: len(limits) + 1]])

    feature = QuantileFeature(
        kind="quantile", column=spec.column, dim=dim, buckets=max(2, len(limits) + 1), boundaries=tuple(limits)
    )
    return Input(feature, RawColumn(dtype="float32"), dim, embedding, len(limits) + 2, rows)


def _hashed(
    objects: Objects,
    spec: InputSpec,
    found: Found,
    key: str,
    embedding: int,
    height: int,
    dim: int,
) -> Input:
    config = objects.config(found["hashing"][1])[1] if "hashing" in found else {}
    bins, mask = spec.hash_bins or config.get("num_bins"), bool(spec.mask)
    if config:
        mask = config.get("mask_value") is not None
        if config.get("salt") is not None:
            raise InputError(f"{key}: its Hashing has a salt, and `kind: hash` has none; it cannot move over")
    if bins is None:
        raise InputError(f"{key}: {objects.place} does not hold the bins of its Hashing; give {key}.hash_bins")
    if bins > height:
        raise InputError(f"{key}: {bins} bins of its Hashing, but {found['embedding'][0]} has only {height} rows")
    buckets = bins - mask
    missing = 0 if mask else int(tf.strings.to_hash_bucket_fast("", buckets))

    def rows(table: np.ndarray) -> np.ndarray:
        return np.concatenate([table[missing : missing + 1], table[mask:bins]])

    feature = HashFeature(kind="hash", column=spec.column, type="string", dim=dim, buckets=buckets)
    return Input(feature, RawColumn(dtype="string"), dim, embedding, buckets + 1, rows)


def _number(objects: Objects, spec: InputSpec, found: Found, key: str) -> Input:
    if other := found.keys() - {"normalization"}:
        path = found[min(other)][0]
        raise InputError(f"{key}.layers: {path} has no Embedding beside it; name it, too")
    if not found:
        return Input(
            NumericFeature(kind="numeric", column=spec.column, standardise=False), RawColumn(dtype="float32"), 1
        )
    path, node = found["normalization"]
    mean, variance = (objects.value(objects.children(node)[part]) for part in ("mean", "variance"))
    if mean.size != 1:
        raise InputError(f"{key}.layers: {path} scales vectors of {mean.size} numbers; only single numbers move over")
    deviation = max(float(np.sqrt(np.float32(variance.item()))), LEAST_DEVIATION)
    feature = NumericFeature(kind="numeric", column=spec.column, moments=(float(mean.item()), deviation))
    return Input(feature, RawColumn(dtype="float32"), 1)
