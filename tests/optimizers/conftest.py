import tensorflow as tf

# Replicas need two devices, and devices can only be divided before TensorFlow has touched them.
CPU = tf.config.list_physical_devices("CPU")[0]
if len(tf.config.get_logical_device_configuration(CPU) or ()) < 2:
    tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
