"""How an optimizer recognises an embedding table, and what it refuses to do with one."""

from typing import Any


def is_embedding_table(variable: Any) -> bool:
    """Whether `variable` is an embedding table: rows looked up by id, few of them per batch.

    An embedding layer marks its variable by setting the attribute `is_embedding_table`, True or False. Without
    that attribute, a variable is a table if its name is `embeddings`, as `keras.layers.Embedding` names its own.

    Args:
        variable: `keras.Variable` or `tf.Variable`.
    """
    return getattr(variable, "is_embedding_table", variable.name.split("/")[-1].split(":")[0] == "embeddings")


def check_table(table: Any, refused_by: str | None, weight_decay: float | None) -> None:
    """Checks that an optimizer can update an embedding table.

    Args:
        table: The table.
        refused_by: Name of an optimizer that is for dense variables alone; None: it is for tables too.
        weight_decay: The optimizer's.

    Raises:
        ValueError: If it cannot.
    """
    path = getattr(table, "path", table.name)
    if refused_by is not None:
        raise ValueError(
            f"{refused_by} is for dense variables, and {path!r} is an embedding table: give tables an optimizer of "
            "their own, such as Adagrad, with Composite."
        )
    if weight_decay:
        raise ValueError(
            f"weight_decay must be None for the embedding table {path!r}, since it would touch every row in every "
            f"step (give tables a separate optimizer with Composite); got {weight_decay!r}."
        )
    if getattr(table, "constraint", None) is not None:
        raise ValueError(
            f"constraint must be None for the embedding table {path!r}, since it would touch every row each step; "
            f"got {table.constraint!r}."
        )
