"""Stock Keras 3: its layers, its Adagrad, `fit` with many steps per call."""

import keras

from benchmarks.speed.sides.tensors import dataset
from benchmarks.speed.workload import LEARNING_RATE, Workload


class RankingModel(keras.Model):
    def __init__(self, workload: Workload):
        super().__init__()
        self._workload = workload
        self.embed = self.make_embedding(workload)
        self.cross = None
        if workload.cross:
            import keras_rs

            self.cross = keras_rs.layers.FeatureCross()
        layers, width = [], None
        for units in workload.units:
            activation = smelu if workload.activation == "smelu" else "relu"
            dense = keras.layers.Dense(units, activation, kernel_initializer="he_normal")
            layers.append(ReZero(dense) if workload.rezero and units == width else dense)
            width = units
        self.bottom = keras.Sequential(layers)
        self.heads = {name: keras.layers.Dense(1, dtype="float32", name=name) for name in workload.task_names}

    def make_embedding(self, workload: Workload):
        return Tables(workload)

    def call(self, features):
        vectors = self.embed({name: features[name] for name in self._workload.feature_names})
        numbers = keras.ops.stack([features[name] for name in self._workload.number_names], axis=1)
        x = keras.ops.concatenate([*vectors.values(), keras.ops.cast(numbers, self.compute_dtype)], axis=1)
        if self.cross is not None:
            x = self.cross(x)
        x = self.bottom(x)
        return {name: head(x) for name, head in self.heads.items()}


class Tables(keras.layers.Layer):
    def __init__(self, workload: Workload):
        super().__init__()
        self.tables = {name: keras.layers.Embedding(workload.rows, workload.dim) for name in workload.feature_names}

    def call(self, ids):
        return {name: table(ids[name]) for name, table in self.tables.items()}


class ReZero(keras.layers.Layer):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.alpha = self.add_weight(shape=(), initializer="zeros")

    def call(self, x):
        return x + self.alpha * self.layer(x)


def smelu(x):
    return keras.ops.where(x <= -1, 0.0, keras.ops.where(x >= 1, x, keras.ops.square(x + 1) / 4))


def make(workload: Workload, per_call: int, jit_compile="auto", model_class=RankingModel):
    keras.config.set_dtype_policy(workload.precision)
    model = model_class(workload)
    model.compile(
        keras.optimizers.Adagrad(LEARNING_RATE),
        loss={name: keras.losses.BinaryCrossentropy(from_logits=True) for name in workload.task_names},
        jit_compile=jit_compile,
        steps_per_execution=per_call,
    )
    data = dataset(workload)

    def train(calls):
        model.fit(data, steps_per_epoch=calls * per_call, verbose=0)
        return calls * per_call * workload.batch

    return train
