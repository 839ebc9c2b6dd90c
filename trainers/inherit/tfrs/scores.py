"""Scores of a TFRS model and of its copy on random rows: a wrong order of inputs of one width shows nowhere else."""

import numpy as np
import tensorflow as tf

from tfstable.inputs.preprocessor import Preprocessor
from tfstable.specs import HashFeature, NumericFeature, QuantileFeature, VocabularyFeature
from trainers.inherit.sample import rebuilt
from trainers.inherit.tfrs.source import TfrsSource

UNKNOWN = 0.1  # Share of unknown ids.


def difference(source: TfrsSource, rows: int = 10_000, seed: int = 0) -> dict[str, float] | str:
    """Returns the largest difference of scores by task, on random rows.

    A score is what the TFRS model returns: the logit, or the output of a sigmoid.

    Args:
        source: The source.
        rows: Number of rows.
        seed: Seed of the rows.

    Returns:
        By task; or why the two cannot be compared.
    """
    if source.spec.saved_model is None:
        return "a checkpoint has no signature"
    signature = source.objects.loaded.signatures.get("serving_default")
    if signature is None:
        return "the SavedModel has no signature serving_default"
    raw = random_rows(source, rows, np.random.default_rng(seed))
    inputs = signature.structured_input_signature[1]
    if unlike := inputs.keys() ^ raw.keys():
        return f"its signature reads {', '.join(inputs)}, and the inputs {', '.join(raw)}; {min(unlike)} is not in both"
    try:
        theirs = signature(**{name: _as(raw[name], spec) for name, spec in inputs.items()})
    except (tf.errors.OpError, ValueError, TypeError) as error:
        return f"its signature does not take a batch of rows ({str(error).strip().partition(chr(10))[0][:160]})"
    single = [output for output in theirs.values() if output.shape.num_elements() == rows]
    found = {
        name: theirs.get(name, single[0] if len(single) == len(source.tasks) == 1 else None) for name in source.tasks
    }
    if unnamed := [name for name, output in found.items() if output is None]:
        return f"none of its outputs, {', '.join(theirs)}, is named {unnamed[0]}"
    model = rebuilt(source, averaged=False)
    logits = model.logits(Preprocessor(dict(source.features), source.statistics)(raw), training=False)
    ours = {name: tf.sigmoid(x) if name in source.sigmoids else x for name, x in logits.items()}
    return {name: float(np.abs(ours[name].numpy() - found[name].numpy().reshape(-1)).max()) for name in found}


def random_rows(source: TfrsSource, rows: int, rng: np.random.Generator) -> dict[str, tf.Tensor]:
    """Returns random values by column, `(rows,)`: mostly known ids, and numbers around the known scale."""
    found: dict[str, np.ndarray] = {}
    for name, feature in source.features.items():
        if isinstance(feature, VocabularyFeature):
            values = source.statistics.vocabularies[feature.table or name]
            text = source.statistics.columns[feature.column or name].dtype == "string"
            known = rng.choice(np.asarray(values, object if text else np.int64), rows)
            share = 0 if name in source.without_unknown else UNKNOWN
            other = np.full(rows, "\x00 unknown", object) if text else rng.integers(2**40, 2**41, rows)
            found[feature.column or name] = np.where(rng.random(rows) < share, other, known)
        elif isinstance(feature, HashFeature):
            found[feature.column or name] = np.array([f"id {i}" for i in rng.integers(0, 10**6, rows)], object)
        elif isinstance(feature, NumericFeature | QuantileFeature) and (feature.column or name) not in found:
            mean, deviation = _scale(feature)
            found[feature.column or name] = rng.normal(mean, deviation, rows).astype(np.float32)
    return {name: tf.constant(values) for name, values in found.items()}


def _scale(feature: NumericFeature | QuantileFeature) -> tuple[float, float]:
    if isinstance(feature, NumericFeature):
        return feature.moments or (0.0, 1.0)
    limits = np.asarray(feature.boundaries)
    return float(limits.mean()), float(limits.std()) or 1.0


def _as(x: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """A column as a signature takes it: text of numbers for a StringLookup, `(batch, 1)`, or another type of number."""
    if spec.dtype != x.dtype:
        x = tf.as_string(x) if spec.dtype == tf.string else tf.cast(x, spec.dtype)
    return tf.reshape(x, [-1, 1]) if spec.shape.rank == 2 else x
