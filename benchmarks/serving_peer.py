"""The peer of benchmarks/serving.py: the model of a run, written and exported as in TFRS's tutorials.

    TF_USE_LEGACY_KERAS=1 python -m benchmarks.serving_peer RUN OUT      (benchmarks/serving.py starts it)

It has the features, widths and layers of the run's config, with tf_keras's preprocessing layers inside the model. The
weights stay as they are initialised, which costs the same. It runs in its own process, because TFRS needs Keras 2.
"""

import sys
from pathlib import Path

import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from tfstable.inputs.statistics import Statistics, is_several_valued, table_name, table_rows
from tfstable.specs import BinaryTask, HashFeature, NumericFeature, QuantileFeature
from trainers.config import Config, load
from trainers.store.run_directory import RunDirectory


def smelu(x):
    return tf.where(x >= 1, x, tf.square(tf.clip_by_value(x, -1.0, 1.0) + 1) / 4)


class Peer(tfrs.models.Model):
    """One embedding layer a feature behind its preprocessing layer, a shared bottom, a tower and a head a task."""

    def __init__(self, config: Config, statistics: Statistics):
        super().__init__()
        self.specs, self.tasks, self.statistics = config.features, config.tasks, statistics
        layers = tf_keras.layers
        self.ids, self.vectors, self.wide = {}, {}, {}
        self.binary = [name for name, task in config.tasks.items() if isinstance(task, BinaryTask)]
        for name, feature in config.features.items():
            if isinstance(feature, NumericFeature):
                mean, deviation = statistics.moments[name]
                self.ids[name] = layers.Normalization(axis=None, mean=mean, variance=deviation**2)
                continue
            self.ids[name] = self._ids(name, feature)
            rows = table_rows(name, feature, statistics)
            self.vectors[name] = layers.Embedding(rows, feature.dim)
            if config.model.wide:
                self.wide[name] = layers.Embedding(rows, len(self.binary))
        self.norm = layers.LayerNormalization()
        self.bottom = tf_keras.Sequential([layers.Dense(n, activation=smelu) for n in config.model.units])
        self.towers = {
            name: tf_keras.Sequential(
                [*(layers.Dense(n, activation=smelu) for n in config.model.tower_units), layers.Dense(1)]
            )
            for name in config.tasks
        }

    def _ids(self, name, feature):
        if isinstance(feature, HashFeature):
            return tf_keras.layers.Hashing(feature.buckets + 1)
        if isinstance(feature, QuantileFeature):
            return tf_keras.layers.Discretization(self.statistics.boundaries[name])
        values = self.statistics.vocabularies[table_name(name, feature)]
        kind = tf_keras.layers.StringLookup if isinstance(values[0], str) else tf_keras.layers.IntegerLookup
        return kind(vocabulary=values)

    def call(self, inputs):
        vectors, numbers, wide = [], [], []
        for name, feature in self.specs.items():
            x = inputs[feature.column or name]
            if isinstance(feature, NumericFeature):
                x = tf.cast(x, tf.float32)
                numbers.append(self.ids[name](tf.math.log1p(x) if feature.log1p else x))
                continue
            several = is_several_valued(name, feature, self.statistics)
            if several:
                x = tf.strings.split(x, feature.delimiter).to_tensor("", shape=[None, feature.max_values])
            ids = self.ids[name](x)
            for tables, parts in ((self.vectors, vectors), (self.wide, wide)):
                if name in tables:
                    vector = tables[name](ids)
                    parts.append(tf.reduce_mean(vector, axis=1) if several else vector)
        x = self.bottom(self.norm(tf.concat([*vectors, tf.stack(numbers, axis=1)], axis=1)))
        logits = {name: tower(x)[:, 0] for name, tower in self.towers.items()}
        if wide:
            total = tf.add_n(wide)
            logits |= {name: logits[name] + total[:, i] for i, name in enumerate(self.binary)}
        return {
            name: tf.sigmoid(logit) if name in self.binary else tf.math.expm1(logit) for name, logit in logits.items()
        }

    def compute_loss(self, inputs, training=False):
        raise NotImplementedError  # Never trained here.


def main(run: Path, out: Path):
    config = load(run / "params.yaml")
    model = Peer(config, RunDirectory(run, config).statistics())
    columns = model.statistics.columns
    model(
        {name: tf.constant([1 if column.dtype != "string" else "1"], column.dtype) for name, column in columns.items()}
    )

    @tf.function(input_signature=[{n: tf.TensorSpec([None], c.dtype, name=n) for n, c in columns.items()}])
    def serve(inputs):
        return model(inputs)

    tf.saved_model.save(model, str(out), signatures={"serving_default": serve})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
