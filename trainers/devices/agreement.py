"""Decisions that all workers of a cluster share, so that all of them take the same branch."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tfstable.errors import InputError
from trainers.devices.cluster import Cluster

T = TypeVar("T")


class Agreement:
    """Sums, values and decisions over the workers. With one worker nothing is sent.

    Every method is a collective: all workers call it, in the same order.

    Args:
        strategy: The strategy that the workers share.
        cluster: This process's place among them.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster):
        self._strategy, self._cluster = strategy, cluster

    @property
    def workers(self) -> int:
        return self._cluster.workers

    def total(self, *values: float) -> list[float]:
        """Returns the sum of each value over the workers."""
        if self._cluster.workers == 1:
            return list(values)
        return self._total(tf.constant(values, tf.float64)).numpy().tolist()

    def barrier(self) -> None:
        """Returns once every worker has called it."""
        self.total(0.0)

    def exchange(self, value: Any) -> list[Any]:
        """Returns every worker's value, plain JSON, in their order."""
        workers, index = self._cluster.workers, self._cluster.index
        if workers == 1:
            return [value]
        text = json.dumps(value).encode()
        sizes = [round(size) for size in self.total(*(len(text) * (worker == index) for worker in range(workers)))]
        texts = np.zeros((workers, max(sizes)))
        texts[index, : len(text)] = list(text)
        texts = self._total(tf.constant(texts.ravel())).numpy().round().astype(np.uint8).reshape(workers, -1)
        return [json.loads(row[:size].tobytes()) for row, size in zip(texts, sizes, strict=True)]

    def decide(self, work: Callable[[], T]) -> T:
        """Runs `work` only on the chief and returns its result, plain JSON, on every worker.

        Files of the run are read and written inside, as in a program of one process. `work` makes no collective call.

        Raises:
            InputError: On every worker, if the chief's `work` raises one.
        """
        failure, result = None, None
        if self._cluster.is_chief:
            try:
                result = work()
            except InputError as error:
                failure = str(error)
        failure, result = self.exchange([failure, result])[0]
        if failure is not None:
            raise InputError(failure)
        return result

    @tf.function(autograph=False, reduce_retracing=True)
    def _total(self, values: tf.Tensor) -> tf.Tensor:
        # Each replica of a worker sends the worker's values, so they are divided by its number of replicas.
        replicas = self._strategy.num_replicas_in_sync // self._cluster.workers
        per_replica = self._strategy.run(tf.identity, args=(values / replicas,))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)
