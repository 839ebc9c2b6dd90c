"""How an optimizer recognises an embedding table."""

from typing import Any


def is_embedding_table(variable: Any) -> bool:
    """Whether `variable` is an embedding table: rows looked up by id, few of them per batch.

    An embedding layer marks its variable by setting the attribute `is_embedding_table`, True or False. Without
    that attribute, a variable is a table if its name is `embeddings`, as `keras.layers.Embedding` names its own.

    Args:
        variable: `keras.Variable` or `tf.Variable`.
    """
    return getattr(variable, "is_embedding_table", variable.name.split("/")[-1].split(":")[0] == "embeddings")
