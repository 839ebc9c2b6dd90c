"""Writes SavedModels (raw columns by name in, tasks by name out) as numbered versions, published atomically."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from tfstable.data.columns import MISSING, RawColumn
from tfstable.errors import InputError
from tfstable.inputs.counters import CounterTable
from tfstable.inputs.id_table import IdTable
from tfstable.models import RankingModel
from tfstable.serving import card as cards
from tfstable.serving import facts, warmup
from tfstable.serving import versions as numbered
from tfstable.serving.card import ModelCard
from tfstable.serving.examples import parse
from tfstable.serving.explain import Explain
from tfstable.serving.gradients import without_gradients
from tfstable.serving.packing import PackedPreprocessor
from tfstable.serving.rank import Rank
from tfstable.serving.versions import begin, give_up, metadata, prune, publish, resolve, verify, versions

__all__ = ["ModelCard", "Serving", "give_up", "metadata", "promote", "prune", "publish", "resolve", "save", "versions"]


@without_gradients()
def save(
    directory: Path,
    model: RankingModel,
    card: ModelCard,
    *,
    user_columns: Collection[str] = (),
    score_weights: Mapping[str, float] | None = None,
    counters: Mapping[str, CounterTable] = MappingProxyType({}),
    ids: Mapping[str, IdTable] = MappingProxyType({}),
    explained: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Writes a version into a hidden folder and returns its path; `publish` makes it visible, `give_up` deletes it.

    Its signatures are `serving_default` (raw columns by name), `serve_examples` (the same as serialized tf.Examples),
    `rank` if `user_columns` are given, and `explain` if `explained` is. Every signature returns finite float32 or
    fails.

    Args:
        directory: The directory of the versions, `MODEL_DIR/export`.
        model: The trained model.
        card: The model card; its columns and signatures are filled in here.
        user_columns: Raw columns of the user and the context; `rank` takes one row of them.
        score_weights: Weights of the tasks in the score of `rank`.
        counters: What rows see of each counter.
        ids: The rows of ids by table.
        explained: Raw columns by name of some rows; `explain` says how a row's predictions come to differ from their
            mean's.

    Raises:
        ValueError: If `user_columns` are given without `score_weights`.
    """
    if user_columns and not score_weights:
        raise ValueError("score_weights must name a task with user_columns: `rank` orders by the weighted sum.")
    partial = begin(directory)
    try:
        preprocess = PackedPreprocessor(model.feature_specs, model.statistics, user_columns, counters, ids)
        _write(partial, model, card, user_columns, score_weights or {}, preprocess, explained)
    except BaseException:  # Frees the space: the disk may be full.
        give_up(partial)
        raise
    return partial


def promote(directory: Path, number: int) -> Path:
    """Publishes a copy of version `number` as the newest, after loading it and answering its warm-up requests.

    Raises:
        InputError: If the version does not exist, is the newest already, or does not predict.
    """
    return numbered.promote(directory, number, lambda version: Serving(version).warm_up())


class Serving:
    """A SavedModel as a server uses it: loaded from disk, called only through its signatures.

    Args:
        version: Directory of a version.

    Attributes:
        columns: Raw columns that the signatures take, by name.
        signatures: Names of the signatures.

    Raises:
        InputError: If the version is damaged.
    """

    @without_gradients()
    def __init__(self, version: Path) -> None:
        self._version = version = resolve(version)
        verify(version)
        try:
            self.columns = {name: RawColumn(**column) for name, column in metadata(version).columns.items()}
            self._loaded = tf.saved_model.load(str(version))
            self.signatures = list(self._loaded.signatures)
        except InputError:
            raise
        except Exception as error:  # For damaged files TensorFlow raises errors of many types.
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            raise InputError(
                f"{version}: damaged, cannot be loaded ({reason}); name another version, or restore this one from "
                "a backup"
            ) from None

    @without_gradients()
    def __call__(self, raw: dict[str, np.ndarray], signature: str = "serving_default") -> dict[str, np.ndarray]:
        """Returns the outputs by name, `(rows,)` each, for raw columns by name.

        Raises:
            InputError: If a column is missing or of another shape, or a prediction is not finite.
        """
        tensors = {name: self._tensor(name, column, raw) for name, column in self.columns.items()}
        rows = {len(tensor) for tensor in tensors.values()}
        if len(rows - {1}) > 1:  # To `rank`, the user's columns have one row.
            raise InputError(f"{self._version}: columns of {min(rows - {1})} and {max(rows)} rows; give each as many")
        try:
            return {name: value.numpy() for name, value in self._loaded.signatures[signature](**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{self._version}: {error.message.splitlines()[0]}") from None

    def _tensor(self, name: str, column: RawColumn, raw: Mapping[str, np.ndarray]) -> tf.Tensor:
        shape = "(rows,)" if column.width is None else f"(rows, {column.width if column.vector else 'values'})"
        if name not in raw:
            raise InputError(f"{self._version}: no column {name}; give {column.dtype} of shape {shape}")
        try:
            tensor = tf.constant(raw[name], column.dtype)
        except (TypeError, ValueError):
            found = "values of another type or lists of several lengths"
        else:
            rank = 1 if column.width is None else 2
            if len(tensor.shape) == rank and (not column.vector or tensor.shape[1] == column.width):
                return tensor
            found = f"shape {tuple(tensor.shape)}"
        padding = f", shorter lists filled up with {MISSING[column.dtype]!r}" if shape.endswith("values)") else ""
        raise InputError(f"{self._version}: column {name} has {found}; give {column.dtype} of shape {shape}{padding}")

    def warm_up(self) -> None:
        """Answers the warm-up requests.

        Raises:
            InputError: If there is no request for `serving_default`, a request fails, or an answer is not finite.
        """
        seen = set()
        try:
            for signature, inputs in warmup.read(self._version):
                seen.add(signature)
                for name, value in self._loaded.signatures[signature](**inputs).items():
                    if not np.isfinite(value.numpy()).all():
                        raise InputError(f"{self._version}: {name} of a warm-up request is not finite")
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"{self._version}: failed on its warm-up requests ({reason})") from None
        if "serving_default" not in seen:
            raise InputError(f"{self._version / warmup.PATH}: holds no request to serving_default to test the model")


def _write(
    partial: Path,
    model: RankingModel,
    card: ModelCard,
    user_columns: Collection[str],
    score_weights: Mapping[str, float],
    preprocess: PackedPreprocessor,
    explained: Mapping[str, np.ndarray] | None,
) -> None:
    """Writes SavedModel and card into a folder."""
    module = tf.Module()
    module.tables = preprocess.unpacked
    columns = model.statistics.columns
    serve = _signature(lambda raw: model(preprocess(raw), training=False), preprocess.signature())
    examples = tf.TensorSpec([None], tf.string, name="examples")
    signatures = {
        "serving_default": serve,
        "serve_examples": _signature(lambda serialized: serve(parse(serialized, columns)), examples),
    }
    if user_columns:
        rank = Rank(model, preprocess, user_columns, score_weights)
        signatures["rank"] = _signature(rank, rank.signature())
    if explained:
        signatures["explain"] = _signature(Explain(model, preprocess, explained), preprocess.signature())
    # Only what the signatures read: the whole model would add variables that only training needs.
    module.variables_read = list({id(v): v for s in signatures.values() for v in s.graph.variables}.values())
    tf.saved_model.save(module, str(partial), signatures=signatures)
    described = {name: _described(signature) for name, signature in signatures.items()}
    shown = {name: column.model_dump() for name, column in columns.items()}
    cards.write(partial, replace(card, columns=shown, signatures=described))
    facts.write(partial, model)


def _signature(function: Callable[[Any], Mapping[str, tf.Tensor]], inputs: Any) -> Any:
    """A traced function for a signature: returns float32 predictions, fails if one is not finite."""

    def call(argument: Any) -> dict[str, tf.Tensor]:
        outputs = function(argument)
        return {name: value if value.dtype.is_integer else _checked(name, value) for name, value in outputs.items()}

    return tf.function(call, input_signature=[inputs], autograph=False).get_concrete_function()


def _checked(name: str, value: tf.Tensor) -> tf.Tensor:
    return tf.debugging.check_numerics(tf.cast(value, tf.float32), f"{name} is not finite; inputs are out of range")


def _described(function: Any) -> dict[str, dict[str, dict[str, Any]]]:
    def spec(tensor: Any) -> dict[str, Any]:
        return {"dtype": tensor.dtype.name, "shape": tensor.shape.as_list()}

    (inputs,), _ = function.structured_input_signature
    inputs = inputs if isinstance(inputs, dict) else {inputs.name: inputs}
    outputs = function.structured_outputs
    return {
        "inputs": {name: spec(inputs[name]) for name in sorted(inputs)},
        "outputs": {name: spec(outputs[name]) for name in sorted(outputs)},
    }
