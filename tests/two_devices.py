"""Divides the CPU for replicas, which need two devices: it can only be done before TensorFlow has touched it."""

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
