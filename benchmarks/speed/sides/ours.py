"""tfstable: the trainer's own model, optimizer and loop."""

import keras
import tensorflow as tf

from benchmarks.speed.sides.tensors import dataset
from benchmarks.speed.workload import LEARNING_RATE, Workload
from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.optimizers import Adagrad, Composite, Group
from tfstable.specs import BinaryTask, HashFeature, NumericFeature
from trainers.build.steps import Steps
from trainers.devices.memory import keep_freed_memory


def make(workload: Workload, per_call: int, xla: bool = False):
    keras.config.set_dtype_policy(workload.precision)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model, optimizer = make_model(workload), make_optimizer()
        optimizer.build(model.trainable_variables)
    steps = Steps(strategy, model, optimizer, xla=xla)
    iterator = iter(dataset(workload, weighted=True))  # No strategy between, as `tfstable train` on one CPU.
    keep_freed_memory()  # As it does, too.

    def train(calls):
        for _ in range(calls):
            steps.train(iterator, tf.constant(per_call)).numpy()
        return calls * per_call * workload.batch

    return train


def make_model(workload: Workload) -> RankingModel:
    features = {
        # One row of a hashed table is kept for missing values.
        name: HashFeature(kind="hash", buckets=workload.rows - 1, dim=workload.dim)
        for name in workload.feature_names
    }
    features |= {name: NumericFeature(kind="numeric") for name in workload.number_names}
    columns = {name: RawColumn(dtype="int64") for name in workload.feature_names}
    columns |= {name: RawColumn(dtype="float32") for name in workload.number_names}
    tasks = {name: BinaryTask(kind="binary") for name in workload.task_names}
    model = RankingModel(
        features,
        tasks,
        Statistics(columns=columns, base_rates=dict.fromkeys(tasks, 0.2)),
        cross_depth=int(workload.cross),
        input_normalisation="none",
        units=workload.units,
        activation=workload.activation,
        rezero=workload.rezero,
    )
    model.build()
    return model


def make_optimizer() -> Composite:
    return Composite([Group("embeddings", Adagrad(LEARNING_RATE)), Group("dense", Adagrad(LEARNING_RATE))])
