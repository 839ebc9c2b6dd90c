"""From a config line to a tf.distribute strategy."""

import faulthandler
import os
from contextlib import suppress
from pathlib import Path

import tensorflow as tf

from tfstable.errors import InputError
from trainers.config import TrainerConfig
from trainers.devices.cluster import Cluster


def make_strategy(config: TrainerConfig, cluster: Cluster) -> tf.distribute.Strategy:
    """Returns the strategy that the config names.

    "one_device" is the first GPU, or the CPU. "mirrored" is every GPU, or every logical CPU without a GPU.
    "multi_worker" joins the workers of TF_CONFIG and waits for all of them. "tpu" is a Cloud TPU by its name, or the
    TPU of this host. "auto" takes the first available of: several workers, a TPU, several GPUs, one device.

    Make it before anything else touches TensorFlow: collective operations and logical devices cannot be set later.

    Raises:
        InputError: If the devices are not available.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    if config.strategy == "multi_worker" or cluster.workers > 1:
        # TensorFlow waits for the others without a limit and holds Python's lock. If a worker has died since they met,
        # only faulthandler, which needs no lock, can end this process.
        faulthandler.dump_traceback_later(60 * config.start_minutes, exit=True)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        finally:
            faulthandler.cancel_dump_traceback_later()
    gpus = tf.config.list_physical_devices("GPU")
    if config.strategy == "tpu" or (config.strategy == "auto" and _has_tpu()):
        return _tpu(config.tpu)
    if config.strategy == "mirrored" or (config.strategy == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(_devices("GPU" if gpus else "CPU", config.devices))
    return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")


def is_one_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the strategy spans only one CPU of this process."""
    devices = strategy.extended.worker_devices
    return isinstance(strategy, tf.distribute.OneDeviceStrategy) and "CPU" in devices[0].upper()


def _devices(kind: str, number: int | None) -> list[str]:
    """Names of the first `number` devices of a kind, or of all; the one CPU is divided into as many."""
    if kind == "CPU" and number:
        with suppress(RuntimeError):  # TensorFlow runs already, with the devices that it then has.
            tf.config.set_logical_device_configuration(
                tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * number
            )
    found = [device.name for device in tf.config.list_logical_devices(kind)]
    if number and len(found) < number:
        raise InputError(f"trainer.devices: {number}, but there are {len(found)} devices of kind {kind}")
    return found[:number]


def _has_tpu() -> bool:
    """Whether the environment names a TPU or this host has one: asking TensorFlow would start it."""
    return "TPU_NAME" in os.environ or Path("/dev/accel0").exists()


def _tpu(name: str) -> tf.distribute.Strategy:
    """In TensorFlow's documented order: resolver, connect, initialise, strategy."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"trainer.strategy: tpu: no TPU {name!r} can be reached ({reason}); "
            "set trainer.tpu, or use another strategy"
        ) from None
