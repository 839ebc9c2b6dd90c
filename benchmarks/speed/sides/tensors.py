"""The batches of a workload as a dataset, for every side on TensorFlow."""

import tensorflow as tf

from benchmarks.speed.workload import Workload, batches


def dataset(workload: Workload, weighted: bool = False) -> tf.data.Dataset:
    """Endless `({feature: (batch,)}, {task: (batch,)})`, with weights of 1 where `weighted`."""
    ids, numbers, labels = batches(workload)
    features = {name: ids[:, :, i] for i, name in enumerate(workload.feature_names)}
    features |= {name: numbers[:, :, i] for i, name in enumerate(workload.number_names)}
    tasks = {name: labels[:, :, i] for i, name in enumerate(workload.task_names)}
    parts = (features, tasks)
    if weighted:
        parts += (tf.ones([len(ids), workload.batch]),)
    return tf.data.Dataset.from_tensor_slices(parts).cache().repeat().prefetch(4).with_options(unattended())


def unattended() -> tf.data.Options:
    """No autotuning: at the end of a `fit` its iterator would wait for that thread, which sleeps for seconds."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
