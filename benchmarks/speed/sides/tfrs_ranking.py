"""TensorFlow Recommenders on Keras 2: its `Model` and `Ranking` tasks, `fit` with many steps per call."""

import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from benchmarks.speed.sides.tensors import dataset
from benchmarks.speed.workload import LEARNING_RATE, Workload


class RankingModel(tfrs.Model):
    def __init__(self, workload: Workload):
        super().__init__()
        self._workload = workload
        self.tables = {name: tf_keras.layers.Embedding(workload.rows, workload.dim) for name in workload.feature_names}
        self.cross = tfrs.layers.dcn.Cross() if workload.cross else None
        layers, width = [], None
        for units in workload.units:
            activation = smelu if workload.activation == "smelu" else "relu"
            dense = tf_keras.layers.Dense(units, activation, kernel_initializer="he_normal")
            layers.append(ReZero(dense) if workload.rezero and units == width else dense)
            width = units
        self.bottom = tf_keras.Sequential(layers)
        self.heads = {name: tf_keras.layers.Dense(1, dtype="float32") for name in workload.task_names}
        self.ranking = {
            name: tfrs.tasks.Ranking(tf_keras.losses.BinaryCrossentropy(from_logits=True))
            for name in workload.task_names
        }

    def call(self, features):
        vectors = [table(features[name]) for name, table in self.tables.items()]
        numbers = tf.stack([features[name] for name in self._workload.number_names], axis=1)
        x = tf.concat([*vectors, tf.cast(numbers, vectors[0].dtype)], axis=1)
        if self.cross is not None:
            x = self.cross(x)
        x = self.bottom(x)
        return {name: head(x) for name, head in self.heads.items()}

    def compute_loss(self, inputs, training=False):
        features, labels = inputs
        logits = self(features)
        return tf.add_n([task(labels[name][:, None], logits[name]) for name, task in self.ranking.items()])


class ReZero(tf_keras.layers.Layer):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.alpha = self.add_weight("alpha", (), initializer="zeros")

    def call(self, x):
        return x + self.alpha * self.layer(x)


def smelu(x):
    return tf.where(x <= -1, 0.0, tf.where(x >= 1, x, tf.square(x + 1) / 4))


def make(workload: Workload, per_call: int, legacy_optimizer: bool = False, jit_compile: bool = False):
    tf_keras.mixed_precision.set_global_policy(workload.precision)
    model = RankingModel(workload)
    optimizers = tf_keras.optimizers.legacy if legacy_optimizer else tf_keras.optimizers
    # Keras 2 never compiles an optimizer for a model that has `jit_compile` unset.
    options = {} if legacy_optimizer else {"jit_compile": jit_compile}
    model.compile(
        optimizers.Adagrad(LEARNING_RATE, **options), jit_compile=jit_compile or None, steps_per_execution=per_call
    )
    data = dataset(workload)

    def train(calls):
        model.fit(data, steps_per_epoch=calls * per_call, verbose=0)
        return calls * per_call * workload.batch

    return train
