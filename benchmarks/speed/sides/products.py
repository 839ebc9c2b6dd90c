"""The matrix products of a workload's step and nothing else: the limit of every framework on this library."""

import itertools

import tensorflow as tf

from benchmarks.speed.workload import Workload


def make(workload: Workload, per_call: int):
    dtype = tf.bfloat16 if workload.precision == "mixed_bfloat16" else tf.float32
    sizes = [*itertools.pairwise([workload.width, *workload.units])]
    sizes += [(workload.width, workload.width)] if workload.cross else []
    inputs = [tf.cast(tf.random.normal([workload.batch, m]), dtype) for m, _ in sizes]
    outputs = [tf.cast(tf.random.normal([workload.batch, n]), dtype) for _, n in sizes]
    kernels = [tf.Variable(tf.cast(tf.random.normal([m, n]), dtype)) for m, n in sizes]

    @tf.function(autograph=False)
    def step():
        made = []
        for x, y, w in zip(inputs, outputs, kernels, strict=True):
            made += [tf.matmul(x, w), tf.matmul(y, w, transpose_b=True), tf.matmul(x, y, transpose_a=True)]
        return [product[0, 0] for product in made]

    def train(calls):
        for _ in range(calls * per_call):
            step()[-1].numpy()
        return calls * per_call * workload.batch

    return train
