"""This process's place in its cluster: TF_CONFIG, read without TensorFlow."""

import json
import os
from dataclasses import dataclass

from tfstable.errors import InputError

EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


class WorkerLostError(Exception):
    """Another worker of the cluster is gone, so that collective operations cannot continue."""


@dataclass(frozen=True)
class Cluster:
    """A process's place among the workers that train together."""

    workers: int = 1
    index: int = 0
    addresses: tuple[str, ...] = ()  # host:port of each, the chief's first.

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files. There is one such process in every cluster."""
        return self.index == 0

    def address(self, index: int) -> tuple[str, int]:
        """Returns the host and the port of a worker."""
        host, _, port = self.addresses[index].rpartition(":")
        return host.strip("[]"), int(port)


def read_cluster(strategy: str) -> Cluster:
    """Returns the cluster that the environment variable TF_CONFIG describes; one process for other strategies.

    Args:
        strategy: `trainer.strategy`; "auto" is "multi_worker" where TF_CONFIG names several workers.

    Raises:
        InputError: If TF_CONFIG is missing where it is needed, or does not describe a cluster.
    """
    text = os.environ.get("TF_CONFIG")
    if strategy not in ("multi_worker", "auto") or (strategy == "auto" and not text):
        return Cluster()
    if not text:
        raise InputError(
            f"trainer.strategy: multi_worker needs the environment variable TF_CONFIG in each worker, like {EXAMPLE}"
        )
    try:
        config = json.loads(text)
        tasks, task = config["cluster"], config["task"]
        if unknown := sorted(set(tasks) - {"chief", "worker"}):
            raise InputError(f"TF_CONFIG: task type {unknown[0]} is not supported; name only workers, like {EXAMPLE}")
        # A "chief" task comes before all workers, as tf.distribute numbers them.
        found = {(kind, i): str(a) for kind in ("chief", "worker") for i, a in enumerate(tasks.get(kind, ()))}
        cluster = Cluster(len(found), [*found].index((task["type"], int(task["index"]))), tuple(found.values()))
        for index in range(cluster.workers if cluster.workers > 1 else 0):
            cluster.address(index)
        return cluster
    except (ValueError, KeyError, TypeError):
        raise InputError(f"TF_CONFIG: not a cluster and this process's task in it; write it like {EXAMPLE}") from None
