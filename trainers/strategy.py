"""From a config line to a tf.distribute strategy."""

import tensorflow as tf


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the strategy: "one_device", or "mirrored" over every GPU (every logical CPU where there is none)."""
    if name == "one_device":
        device = "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
        return tf.distribute.OneDeviceStrategy(device)
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
