"""From the `sequences` of the options to the layers that read histories."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.inputs.statistics import Statistics, is_several_valued
from tfstable.layers import (
    Embeddings,
    FeatureNormalization,
    HistoryDecoder,
    HistoryEncoder,
    MaskedMean,
    TargetAttention,
)
from tfstable.layers.shapes import Shape
from tfstable.options import RankingOptions, SequenceOptions, check_lists, check_sequences, embedded
from tfstable.specs import Feature


@keras.saving.register_keras_serializable(package="tfstable")
class Histories(keras.layers.Layer):
    """Reads every history of `RankingOptions.sequences`.

    Embeddings of events and candidates come from the model's own tables. Under `input_normalisation: features` each
    vector is divided by its own size before the attention, and so is each feature's part of its output.

    Args:
        features: Feature specs by name.
        statistics: What `statistics.fit` learned.
        options: The model's options.
        activation: The model's activation.

    Attributes:
        embedded: The features of all histories.
        widths: Width of what is read of each history.

    Raises:
        ValueError: If the sequences do not fit the features (see `options.check_sequences`), or a feature of a history
            is not several-valued, or one of a query is.
    """

    def __init__(
        self,
        features: Mapping[str, Feature],
        statistics: Statistics,
        options: RankingOptions,
        activation: str | Callable[..., Any],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_sequences(options.sequences, features)
        check_lists(options.sequences, lambda name: is_several_valued(name, features[name], statistics))
        self.options, self.embedded = options.sequences, {f for s in options.sequences.values() for f in s.features}
        self.readers = {
            name: _reader(sequence, activation, options.dropout, name=name, dtype=self.dtype_policy)
            for name, sequence in options.sequences.items()
        }
        parts = {name: _parts(sequence, features) for name, sequence in options.sequences.items()}
        self.widths = {name: sum(widths) for name, widths in parts.items()}
        self.norms = {
            name: FeatureNormalization(widths, name=f"{name}_norm", dtype=self.dtype_policy)
            for name, widths in parts.items()
            if options.input_normalisation == "features"
        }

    def build(self, inputs_shape: Mapping[str, Shape]) -> None:
        self.built = True  # The readers build themselves.

    def call(self, inputs: Mapping[str, tf.Tensor], embeddings: Embeddings) -> dict[str, tf.Tensor]:
        """Returns what is read of each history, `(batch, width)`; zeros where it is empty.

        Args:
            inputs: Rows by feature, `(batch, max_values)` for histories, `(batch,)` for queries. A history of one row
                serves all queries.
            embeddings: The tables.
        """
        found = {}
        for name, sequence in self.options.items():
            rows = [inputs[feature] for feature in sequence.features]
            mask = tf.reduce_any(tf.stack(rows) >= 0, axis=0)  # (batch, length): an event may lack some of its columns.
            arguments = [self._vectors(name, sequence.features, inputs, embeddings)]
            if sequence.query:
                arguments.insert(0, self._vectors(name, sequence.query, inputs, embeddings))
            vector = self.readers[name](*arguments, attention_mask=mask)
            found[name] = self.norms[name](vector) if name in self.norms else vector
        return found

    def _vectors(
        self, name: str, features: Sequence[str], inputs: Mapping[str, tf.Tensor], embeddings: Embeddings
    ) -> tf.Tensor:
        """The vectors of some features beside each other, `(batch, [length,] width)`."""
        parts = []
        for vectors in embeddings.unpooled(features, inputs):  # (batch, [length,] features, dim)
            if name in self.norms:
                vectors = self.norms[name].normalise(vectors)
            batch, *length, count, dim = vectors.shape
            length = [tf.shape(vectors)[1] if n is None else n for n in length]
            parts.append(tf.reshape(vectors, [-1 if batch is None else batch, *length, count * dim]))
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)


def _parts(sequence: SequenceOptions, features: Mapping[str, Feature]) -> list[int]:
    """Widths of the parts that a history's vector consists of."""
    keys, query = ([embedded(features[f]).dim for f in names] for names in (sequence.features, sequence.query))
    if sequence.attention == "encoder":
        return [sum(keys + query)] * 2
    return [sum(keys)] if sequence.attention == "decoder" else keys


def _reader(
    sequence: SequenceOptions, activation: str | Callable[..., Any], dropout: float, **kwargs: Any
) -> keras.layers.Layer:
    if sequence.attention == "mean":
        return MaskedMean(**kwargs)
    if sequence.attention == "target":
        return TargetAttention(sequence.units, activation, sequence.softmax, **kwargs)
    layer = HistoryEncoder if sequence.attention == "encoder" else HistoryDecoder
    return layer(sequence.depth, sequence.heads, sequence.units[0], activation, dropout, **kwargs)
