"""Rules between losses over lists, the order of the rows, and the replicas. Imports no TensorFlow."""

from collections.abc import Mapping
from math import gcd

from tfstable.data.group_shuffle import parts_of
from tfstable.errors import InputError
from tfstable.specs import BinaryTask, TaskSpec
from trainers.config.sections import TrainerConfig

ONE_LOGIT = ("tfstable.models.RankingModel", "tfstable.models.Committee")


def check_lists(tasks: Mapping[str, TaskSpec], trainer: TrainerConfig, model_class: str) -> None:
    """Checks that losses over lists find the rows of a group in one batch, and their logits in the model.

    Raises:
        ValueError: Naming the task, if they do not.
    """
    if (name := _with_lists(tasks)) and trainer.shuffle.kind != "groups":
        raise ValueError(
            f"tasks.{name}.loss compares the rows of a group within a batch, but trainer.shuffle is "
            f"{trainer.shuffle.kind}; set trainer.shuffle: {{kind: groups, by: COLUMN}}"
        )
    for name, task in tasks.items():
        if model_class in ONE_LOGIT and isinstance(task, BinaryTask) and task.loss and task.loss.kind == "jrc":
            raise ValueError(f"tasks.{name}.loss: jrc needs two logits; set model.class: tfstable.models.JointRanking")


def check_replicas(tasks: Mapping[str, TaskSpec], trainer: TrainerConfig, replicas: int) -> None:
    """Checks that each replica's share of a batch holds whole groups.

    Raises:
        InputError: If a loss over lists would depend on the number of replicas.
    """
    size, shuffle = trainer.batch_size, trainer.shuffle
    if (name := _with_lists(tasks)) and (parts := parts_of(size, shuffle.group_parts)) % replicas:
        raise InputError(
            f"tasks.{name}.loss: {replicas} replicas would cut groups: a batch of {size} rows keeps them whole in each "
            f"of {parts} parts; set trainer.shuffle.parts and trainer.batch_size to multiples of {replicas}, such as "
            f"{shuffle.group_parts * replicas // gcd(shuffle.group_parts, replicas)} parts"
        )


def _with_lists(tasks: Mapping[str, TaskSpec]) -> str | None:
    return next((name for name, task in tasks.items() if isinstance(task, BinaryTask) and task.loss is not None), None)
