"""Methods of `keras.Model` that first make all variables of the model and of its optimizer."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from tfstable.models.targets import only_tasks


def prepared(name: str) -> Callable[..., Any]:
    """Returns a method of `keras.Model` that first makes all variables, of the model and of its optimizer.

    It drops labels and weights of other tasks, and names missing ones: Keras would print all labels and weights.
    """
    method = getattr(keras.Model, name)

    @functools.wraps(method)
    def first_prepared(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(method).bind(self, *args, **kwargs)
        given = bound.arguments
        given.update(
            {
                key: only_tasks(self.labelled, key, given[key], key == "y")
                for key in ("y", "sample_weight")
                if key in given
            }
        )
        if isinstance(given.get("validation_data"), tuple | list):
            x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(given["validation_data"]))
            y = only_tasks(self.labelled, "y", y, others=True)
            given["validation_data"] = (x, y, only_tasks(self.labelled, "sample_weight", weights))
        self.prepare()
        return method(*bound.args, **bound.kwargs)

    return first_prepared
