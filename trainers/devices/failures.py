"""Turns failures outside a run (disks, dead workers) into one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from tfstable.errors import InputError
from trainers.config import Config
from trainers.devices.cluster import WorkerLostError, read_cluster
from trainers.devices.disk import FULL, refusal

# TensorFlow raises these if another worker is gone. Faults of this process (memory, shapes) have other classes.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


@contextmanager
def full_disk(model_dir: Path) -> Iterator[None]:
    """Raises an InputError where a file cannot be written because its disk is full, read-only or not ours."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if getattr(error, "errno", None) in FULL or "No space left" in str(error):
            raise InputError(
                f"{model_dir}: the disk is full; free some space, or lower trainer.keep_checkpoints, then "
                "rerun the same command to resume from the newest checkpoint"
            ) from None
        if isinstance(error, OSError) and (why := refusal(error)):
            raise InputError(why) from None
        raise


@contextmanager
def lost_workers(config: Config) -> Iterator[None]:
    """Raises a WorkerLostError if one worker of several cannot continue without the others."""
    try:
        yield
    except LOST as error:
        cluster = read_cluster(config.trainer.strategy)
        if cluster.workers == 1:
            raise
        raise WorkerLostError(
            f"worker {cluster.index} of {cluster.workers} stopped: another one is gone or cannot be reached "
            f"({type(error).__name__}); rerun the same command on all workers to resume from the newest checkpoint"
        ) from None
