"""Compiled models for the contract of Keras, a subclass with every trap among them."""

import keras
import numpy as np
import tensorflow as tf

from tests.models.cases import FEATURES, INPUTS, LABELS, ROWS, STATISTICS, TASKS, WEIGHTS
from tfstable.models import RankingModel
from tfstable.optimizers import Adagrad, ClippyAdagrad, Composite, Group


@keras.saving.register_keras_serializable(package="tests")
class Own(RankingModel):
    """Layers that train otherwise than they predict, and losses from a stage, a layer and weights."""

    def __init__(self, *args, dropout=0.2, **kwargs):
        super().__init__(*args, **kwargs)
        self.norm = keras.layers.BatchNormalization(dtype=self.dtype_policy, name="norm")
        self.drop = keras.layers.Dropout(dropout)
        self.extra = keras.layers.Dense(
            6, kernel_regularizer="l2", activity_regularizer="l2", dtype=self.dtype_policy, name="extra"
        )
        self.rate = dropout

    def interact(self, x, training=None):
        x = self.norm(super().interact(x, training=training), training=training)
        self.add_loss(0.1 * tf.reduce_mean(tf.square(x)))
        return self.extra(self.drop(x, training=training))

    def get_config(self):
        return {**super().get_config(), "dropout": self.rate}


GRAPH = {"run_eagerly": False}


def groups():
    return Composite([Group("embeddings", Adagrad(0.1)), Group("dense", ClippyAdagrad(0.1))])


def make(model_class=RankingModel, optimizer=Adagrad, seed=0, tasks=TASKS, compiled=None, **keys):
    """A compiled model, not built. It runs eagerly, which is a tenth of the time, unless `compiled` says otherwise."""
    keras.utils.set_random_seed(seed)
    model = model_class(FEATURES, tasks, STATISTICS, **{"units": (8,), **keys})
    model.compile(optimizer=optimizer(), **{"run_eagerly": True, **(compiled or {})})
    assert not model.built
    return model


def fit(model, x=INPUTS, y=LABELS, w=WEIGHTS, epochs=1, **keys):
    keys = {"batch_size": 4, "shuffle": False, "verbose": 0, **keys}
    if not model.built:
        keras.utils.set_random_seed(0)  # Tables are drawn by the first use.
    return model.fit(x, y, sample_weight=w, epochs=epochs, **keys).history


def assert_two_replicas_train_what_one_device_does(*cases):
    """Also where batches of 5, and a last one of 3, fall into unequal halves. Batch normalisation is each replica's."""
    rng = np.random.default_rng(0)
    taken = rng.integers(0, ROWS, 13)
    x, y = ({name: value[taken] for name, value in by_name.items()} for by_name in (INPUTS, LABELS))
    weights = rng.random(13).astype(np.float32)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for model_class, optimizer in cases:
        results = []
        for strategy in (tf.distribute.get_strategy(), mirrored):
            with strategy.scope():
                compiled = GRAPH | {"metrics": {"time": ["mae"]}, "weighted_metrics": {"click": ["AUC"]}}
                model = make(model_class, optimizer, activation="smelu", compiled=compiled, dropout=0.0)
            if model_class is Own:
                model.norm.trainable = False
                model.compile(model.optimizer, **compiled)
            history = fit(model, x, y, weights, epochs=2, batch_size=5)
            history |= model.evaluate(x, y, batch_size=5, return_dict=True, verbose=0)
            predictions = model.predict(x, batch_size=5, verbose=0)
            results.append((history, predictions, {v.path.partition("/")[2]: v.numpy() for v in model.weights}))
        for one, two in zip(*results, strict=True):
            for name, value in one.items():
                np.testing.assert_allclose(two[name], value, rtol=2e-3, atol=1e-5, err_msg=f"{model_class} {name}")
