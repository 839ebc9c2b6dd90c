"""DIN in tfstable: the trainer's own model, optimizer and loop."""

import tensorflow as tf

from benchmarks.speed.din import DIM, LENGTH, ROWS, UNITS, batches
from benchmarks.speed.sides.ours import make_optimizer
from tfstable.data.columns import RawColumn
from tfstable.inputs.statistics import Statistics
from tfstable.models import RankingModel
from tfstable.specs import BinaryTask, HashFeature
from trainers.build.steps import Steps
from trainers.devices.memory import keep_freed_memory


def make(batch: int, per_call: int, xla: bool = False):
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model, optimizer = make_model(), make_optimizer()
        optimizer.build(model.trainable_variables)
    steps = Steps(strategy, model, optimizer, xla=xla)
    packed = [
        ({"video": q[:, 0], "author": q[:, 1], "seen_video": k[..., 0], "seen_author": k[..., 1]}, {"click": y})
        for q, k, y in batches(batch)
    ]
    weight = tf.ones([batch])
    data = tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(lambda *parts: tf.stack(parts), *packed))
    iterator = iter(data.map(lambda x, y: (x, y, weight)).repeat().prefetch(4))
    keep_freed_memory()

    def train(calls):
        for _ in range(calls):
            steps.train(iterator, tf.constant(per_call)).numpy()
        return calls * per_call * batch

    return train


def make_model() -> RankingModel:
    features = {}
    for name, rows in zip(("video", "author"), ROWS, strict=True):
        # One row of a hashed table is kept for missing values.
        features[name] = HashFeature(kind="hash", buckets=rows - 1, dim=DIM)
        features[f"seen_{name}"] = features[name].model_copy(update={"table": name, "max_values": LENGTH})
    columns = {name: RawColumn(dtype="int64", width=LENGTH if "seen" in name else None) for name in features}
    model = RankingModel(
        features,
        {"click": BinaryTask(kind="binary")},
        Statistics(columns=columns, base_rates={"click": 0.5}),
        input_normalisation="none",
        units=UNITS,
        sequences={"seen": {"features": ("seen_video", "seen_author"), "query": ("video", "author"), "units": (64,)}},
    )
    model.build()
    return model
