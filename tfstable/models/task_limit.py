"""A limit on what one task's gradient does to the layers that the tasks share."""

from collections.abc import Iterable, Mapping

import tensorflow as tf


def limited(shared: tf.Tensor | Mapping[str, tf.Tensor], tasks: Iterable[str], limit: float) -> dict[str, tf.Tensor]:
    """Returns what each task's head reads, unchanged; backwards, each task's gradient is scaled down to a limit:

        g_k <- min(1, limit / rms_k) g_k,   rms_k^2 = (1 / B) sum_i ||B g_ki||^2

    g_k is the gradient of the loss, a mean over a batch of B rows, by what task k's head reads; B g_ki is thus row i's
    own gradient, task and example weights included. The heads themselves get their whole gradient. By linearity this
    limits each task's gradient on all shared layers, for one backward pass in all. A task that breaks (Tang et al.,
    2023, section 3.2) then moves them as little as any other.

    The sum is over the rows of all replicas, so any number of them trains alike. A gradient that is not finite stays
    so: the optimizer leaves out the step.

    Args:
        shared: The output of the shared layers, `(batch, units)`, or one such tensor per task.
        tasks: Names of the tasks with a head.
        limit: Largest root mean square of a row's gradient, positive.

    Returns:
        By task, `(batch, units)`.
    """
    names = list(tasks)

    @tf.custom_gradient
    def limit_gradients(*inputs: tf.Tensor) -> tuple[list[tf.Tensor], object]:
        def scaled(*gradients: tf.Tensor) -> list[tf.Tensor]:
            exact = tf.float64 if gradients[0].dtype == tf.float64 else tf.float32
            squares = [tf.reduce_sum(tf.square(tf.cast(g, exact))) for g in gradients]
            sums = _over_replicas(tf.stack([*squares, tf.cast(tf.shape(gradients[0])[0], exact)]))  # (tasks + 1,)
            factors = tf.minimum(limit * tf.math.rsqrt(sums[:-1] * sums[-1]), 1.0)  # (tasks,)
            return [tf.cast(factors[i], g.dtype) * g for i, g in enumerate(gradients)]

        return [tf.identity(x) for x in inputs], scaled

    outputs = limit_gradients(*(shared[name] if isinstance(shared, Mapping) else shared for name in names))
    return dict(zip(names, outputs, strict=True))


def _over_replicas(sums: tf.Tensor) -> tf.Tensor:
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return sums
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
