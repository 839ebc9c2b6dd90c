"""Starts the rows of new ids anew, before a window trains."""

import zlib
from collections.abc import Mapping
from datetime import date

import numpy as np
import tensorflow as tf

from tfstable.inputs.ids import Given
from tfstable.layers import Embeddings
from tfstable.models.pretrained import vectors_of
from trainers.build.learner import Learner


def renew(learner: Learner, given: Mapping[str, Given], seed: int, last: date) -> None:
    """Gives new ids rows as at the start of a training: in every table of that name, with slots and averages.

    The weights are drawn by the seed, the table and the window; ids that a `pretrained` file has start from it.

    Args:
        learner: The learner. Call this under its strategy's scope, in cross-replica context.
        given: The new rows by table.
        seed: The training's.
        last: The window's last day.
    """
    layers = [layer for layer in learner.model._flatten_layers() if isinstance(layer, Embeddings)]
    for number, layer in enumerate(layers):
        for table in sorted(given.keys() & {feature.table for feature in layer.features.values()}):
            ids, rows, *_ = given[table]
            if not len(rows):
                continue
            variable, start = layer.place(table)
            draw = np.random.default_rng([seed, last.toordinal(), number, zlib.crc32(table.encode())])
            values = draw.normal(0.0, 1.0, (len(rows), variable.shape[1])) * layer.stddev
            if layer is learner.model.embeddings:
                known, vectors = vectors_of(learner.model, table, ids)
                values[known] = vectors
            learner.optimizer.renew_rows(
                variable, tf.constant(rows.astype(np.int64) + start), tf.constant(values, tf.float32)
            )
