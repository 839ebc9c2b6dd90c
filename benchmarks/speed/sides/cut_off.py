"""tfstable's step, cut off after one of its parts."""

import tensorflow as tf

from benchmarks.speed.sides import ours
from benchmarks.speed.sides.tensors import dataset
from benchmarks.speed.workload import Workload


def make(workload: Workload, per_call: int, after: str):
    model, optimizer = ours.make_model(workload), ours.make_optimizer()
    optimizer.build(model.trainable_variables)
    iterator = iter(dataset(workload, weighted=True))
    variables = [v.value for v in model.trainable_variables]

    def until(features, labels, weight):
        if after == "input":
            return [*features.values(), *labels.values(), weight]
        if after == "gather":
            return [model.embed(features)]
        if after == "bottom":
            return [model.shared_bottom(model.interact(model.embed(features)), training=True)]
        if after == "heads":
            return [model.compute_loss(features, labels, model.logits(features, training=True), weight)]
        with tf.GradientTape() as tape:
            loss = model.compute_loss(features, labels, model.logits(features, training=True), weight)
        gradients = tape.gradient(loss, variables)
        if after == "update":
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return [loss]
        return [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients]

    @tf.function
    def steps():
        total = 0.0
        for _ in tf.range(per_call):
            # One number of each tensor: enough for it to be computed.
            total += tf.add_n([tf.cast(tf.reshape(x, [-1])[0], tf.float32) for x in until(*next(iterator))])
        return total

    def train(calls):
        for _ in range(calls):
            steps().numpy()
        return calls * per_call * workload.batch

    return train
