"""How an optimizer knows an embedding table."""

from typing import Any


def is_embedding_table(variable: Any) -> bool:
    """Whether `variable` is an embedding table: rows looked up by id, of which a batch touches few.

    An embedding layer says so by setting the attribute `is_embedding_table` of its variable, True or False. Without
    that attribute, a variable is a table if its name is `embeddings`, as `keras.layers.Embedding` names its own.

    Args:
        variable: `keras.Variable` or `tf.Variable`.
    """
    return getattr(variable, "is_embedding_table", variable.name.split("/")[-1].split(":")[0] == "embeddings")
