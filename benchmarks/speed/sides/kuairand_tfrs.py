"""The model of configs/kuairand_columns.yaml in TFRS, with the input of its tutorials: a data frame, lookups, `fit`.

Preprocessing is Keras 2's layers in `Dataset.map`, on batches. A call is the whole log, day after day.
"""

from pathlib import Path

import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from benchmarks.speed.sides.tensors import unattended
from benchmarks.speed.sides.tfrs_ranking import smelu
from tfstable.specs import BinaryTask, HashFeature, NumericFeature, QuantileFeature
from trainers.config import load
from trainers.training.check import check_log, open_log
from trainers.training.first_window import fit_statistics


def make(log: str, way: str):
    config = load(Path("configs/kuairand_columns.yaml"), [f"data.path={log}"])
    days = open_log(config, lambda *_: None)
    statistics = fit_statistics(config, days, check_log(config, days))
    labels = {name: task.label or name for name, task in config.tasks.items()}
    columns = {name: feature.column or name for name, feature in config.features.items()}
    lookups = {name: lookup(name, feature, statistics) for name, feature in config.features.items()}
    wanted = sorted({*labels.values(), *columns.values()})

    def preprocess(raw):
        features = {name: apply(raw[columns[name]]) for name, apply in lookups.items()}
        return features, {name: tf.cast(raw[label], tf.float32) for name, label in labels.items()}

    def dataset(day):
        frame = pd.read_parquet(Path(log) / f"date={day}", columns=wanted)
        numbers = frame.select_dtypes("number").columns
        frame[numbers] = frame[numbers].fillna(-1)
        frame = frame.fillna("")
        if way == "tuned":  # Shuffled whole, then cut into batches without a step a row.
            frame = frame.sample(frac=1)
        data = tf.data.Dataset.from_tensor_slices(dict(frame))
        if way == "documented":
            data = data.shuffle(len(frame))
        workers = tf.data.AUTOTUNE if way == "documented" else 2
        data = data.batch(config.trainer.batch_size, drop_remainder=True).map(preprocess, num_parallel_calls=workers)
        if way == "documented":
            return data.cache().prefetch(tf.data.AUTOTUNE)
        return data.cache().prefetch(4).with_options(unattended())

    model = RankingModel(config, statistics)
    model.compile(tf_keras.optimizers.legacy.Adagrad(0.05, 0.1), steps_per_execution=8)

    def train(calls):
        for _ in range(calls):
            for day in days.days:
                model.fit(dataset(day), epochs=int(config.trainer.passes), verbose=0)
        return calls * int(config.trainer.passes) * sum(days.rows(day) for day in days.days)

    return train


def lookup(name, feature, statistics):
    """A function from a raw column to rows of a table, or to a number."""
    if isinstance(feature, NumericFeature):
        mean, deviation = statistics.moments[name]
        return lambda x: (tf.math.log1p(tf.maximum(tf.cast(x, tf.float32), 0.0)) - mean) / deviation
    if isinstance(feature, QuantileFeature):
        layer = tf_keras.layers.Discretization(statistics.boundaries[name])
        return lambda x: layer(tf.cast(x, tf.float32))
    if isinstance(feature, HashFeature):
        return tf_keras.layers.Hashing(feature.buckets)
    vocabulary = statistics.vocabularies[name]
    if isinstance(vocabulary[0], str):
        layer = tf_keras.layers.StringLookup(vocabulary=vocabulary)
        if feature.delimiter is None:
            return layer
        return lambda x: layer(tf.strings.split(x, feature.delimiter).to_tensor("", shape=[None, feature.max_values]))
    return tf_keras.layers.IntegerLookup(vocabulary=vocabulary)


class RankingModel(tfrs.Model):
    def __init__(self, config, statistics):
        super().__init__()
        self._config = config
        embedded = {n: f for n, f in config.features.items() if not isinstance(f, NumericFeature)}
        self._numbers = [name for name in config.features if name not in embedded]
        rows = {name: table_rows(name, feature, statistics) for name, feature in embedded.items()}
        self._binary = [name for name, task in config.tasks.items() if isinstance(task, BinaryTask)]
        self.tables = {name: tf_keras.layers.Embedding(rows[name], embedded[name].dim) for name in embedded}
        self.wide = {name: tf_keras.layers.Embedding(rows[name], len(self._binary)) for name in embedded}
        self.norm = tf_keras.layers.LayerNormalization()
        self.bottom = tf_keras.Sequential([tf_keras.layers.Dense(units, smelu) for units in config.model.units])
        self.towers = {
            name: tf_keras.Sequential([*(tf_keras.layers.Dense(u, smelu) for u in config.model.tower_units)])
            for name in config.tasks
        }
        self.outputs_of = {name: tf_keras.layers.Dense(1) for name in config.tasks}
        self.ranking = {name: tfrs.tasks.Ranking(self._loss(name)) for name in config.tasks}

    def _loss(self, name):
        binary = name in self._binary
        return tf_keras.losses.BinaryCrossentropy(from_logits=True) if binary else tf_keras.losses.MeanSquaredError()

    def call(self, features):
        vectors = [pooled(table(features[name])) for name, table in self.tables.items()]
        numbers = tf.stack([features[name] for name in self._numbers], axis=1)
        x = self.bottom(self.norm(tf.concat([*vectors, numbers], axis=1)))
        wide = tf.add_n([pooled(table(features[name])) for name, table in self.wide.items()])
        logits = {name: self.outputs_of[name](self.towers[name](x)) for name in self._config.tasks}
        for i, name in enumerate(self._binary):
            logits[name] += wide[:, i : i + 1]
        return logits

    def compute_loss(self, inputs, training=False):
        features, labels = inputs
        logits, losses = self(features), []
        for name, task in self._config.tasks.items():
            label = labels[name][:, None]
            label = label if name in self._binary else tf.math.log1p(tf.maximum(label, 0.0))
            losses.append(task.weight * self.ranking[name](label, logits[name]))
        return tf.add_n(losses)


def table_rows(name, feature, statistics):
    if isinstance(feature, HashFeature):
        return feature.buckets
    if isinstance(feature, QuantileFeature):
        return len(statistics.boundaries[name]) + 1
    return len(statistics.vocabularies[name]) + 1


def pooled(vectors):
    return vectors if vectors.shape.rank == 2 else tf.reduce_mean(vectors, axis=1)
