"""A sample of the log through a trained model: its predictions, and the mean of what its layers read."""

import importlib
from collections.abc import Mapping
from datetime import date

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfstable.data.log import DayLog, read
from tfstable.errors import InputError
from tfstable.inputs.id_table import IdTable
from tfstable.inputs.preprocessor import Preprocessor
from tfstable.inputs.reader import ExampleReader
from tfstable.inputs.statistics import scaling, table_name
from tfstable.log_columns import feature_columns, label_columns
from tfstable.models import RankingModel
from tfstable.specs import NumericFeature, VectorFeature, counters, living
from trainers.config import Config
from trainers.inherit.names import in_model
from trainers.inherit.source import Source

ROWS = 2048


class Sample:
    """Some rows of a day, as inputs of models.

    Args:
        config: The config of the new run.
        log: The log.
        day: The day.
        rows: Their number, spread over the day.
    """

    def __init__(self, config: Config, log: DayLog, day: date, rows: int = ROWS):
        self._config, self._log, self._day = config, log, day
        self._columns = set.intersection(*(set(schema.names) for schema in log.schemas(day).values()))
        self._every = max(1, log.rows(day) // rows)

    def of_reader(self, reader: ExampleReader, ids: Mapping[str, IdTable]) -> dict[str, tf.Tensor]:
        """Returns the inputs that a reader makes, by feature, with the rows of `ids` by table."""
        parts, seen = [], 0
        for batch in read(self._log.units(self._day), reader.columns):
            parts.append(batch.take(pa.array(range(-seen % self._every, batch.num_rows, self._every))))
            seen += batch.num_rows
        packed = reader.convert(pa.Table.from_batches(parts), first=self._day, ids=ids)
        features, _, _ = reader.layout.unpack(packed)
        return {name: tf.constant(value) for name, value in features.items()}

    def of_model(
        self, model: RankingModel, given: Mapping[str, tf.Tensor], ids: Mapping[str, IdTable]
    ) -> dict[str, tf.Tensor]:
        """Returns the inputs of a model, by feature; of a feature whose columns the log lacks, missing values.

        Args:
            model: The model; need not be built.
            given: Inputs that are there already.
            ids: The rows of ids by table.

        Raises:
            InputError: If rows of ids are needed that are not there.
        """
        features, statistics = model.feature_specs, model.statistics
        needed = feature_columns(features)
        labels = label_columns(dict(model.task_specs))
        for name, counter in counters(features).items():
            needed[name] += tuple(labels[task] for task in counter.of)
        read_here = {n: f for n, f in features.items() if n not in given and self._columns.issuperset(needed[n])}
        if lacking := [name for name, f in living(read_here).items() if table_name(name, f) not in ids]:
            raise InputError(f"the source does not say which id of {lacking[0]} has which row")
        found = dict(given)
        if read_here:
            counted = {task for counter in counters(read_here).values() for task in counter.of}
            tasks = {name: task for name, task in model.task_specs.items() if name in counted}
            used = {column for columns in feature_columns(read_here).values() for column in columns}
            columns = {name: column for name, column in statistics.columns.items() if name in used}
            own = statistics.model_copy(update={"columns": columns})
            reader = ExampleReader(self._log, Preprocessor(read_here, own), own, tasks, self._config.data.weight)
            found |= self.of_reader(reader, ids)
        rows = len(next(iter(found.values()))) if found else 1
        return {name: found[name] if name in found else _missing(model, name, rows) for name in features}


def _missing(model: RankingModel, name: str, rows: int) -> tf.Tensor:
    """The input of a feature without a value, `(rows, ...)`."""
    spec, feature = model.input_signature()[name], model.feature_specs[name]
    if spec.dtype == tf.int32:
        return tf.fill([rows, *spec.shape[1:]], -1 if spec.shape.rank == 2 else 0)
    if isinstance(feature, NumericFeature):
        return tf.fill([rows], tf.constant(scaling(name, feature, model.statistics).missing, tf.float32))
    value = tf.zeros([rows, spec.shape[1]])
    return tf.concat([value[:, :-1], value[:, -1:] + 1], axis=1) if isinstance(feature, VectorFeature) else value


def predictions(model: RankingModel, inputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Returns a model's predictions by task, `(rows,)`."""
    return {name: value.numpy() for name, value in model(inputs, training=False).items()}


def rebuilt(source: Source, averaged: bool) -> RankingModel:
    """Returns the source's model with its weights.

    Args:
        source: The source.
        averaged: See `Source.weight`.

    Raises:
        InputError: If its class cannot be made.
    """
    module, _, name = source.model_class.rpartition(".")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(source.precision)
    try:
        kind = getattr(importlib.import_module(module), name)
        options = {**source.options.model_dump(), **source.model_options}
        model = kind(source.features, source.tasks, source.statistics, **options)
        model.build()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"its class {source.model_class} cannot be made ({error})") from None
    finally:
        keras.config.set_dtype_policy(before)
    names, shapes = in_model(variable.path for variable in model.variables), source.shapes()
    for variable in model.variables:
        path = names[variable.path]
        if shapes.get(path) == tuple(variable.shape):
            variable.assign(source.weight(path, averaged))
        elif "seed_generator" not in path:
            raise InputError(f"its weight {path} is not there")
    return model


def means(model: RankingModel, inputs: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Returns the mean over the rows of what layers of a plain `RankingModel` or a `Committee` read.

    Returns:
        "cross_l", what cross layer l reads; "bottom", "experts" and "heads", what those read,
        "heads/TASK" above experts, with "experts_m" and "heads_m" of a committee's member m; "wide", the wide part's
        logits of each feature and task. Each a vector.
    """
    found = {}
    x = model.embed(inputs)
    if (history := model.sequence(inputs)) is not None:
        x = tf.concat([x, history], axis=1)
    crossed = x
    for number, layer in enumerate(model.cross.layers if model.cross is not None else ()):
        found[f"cross_{number}"] = crossed
        crossed = layer(x, crossed)
    crossed = crossed if model.input_norm is None else model.input_norm(crossed)
    parallel = model.options.cross_arrangement == "parallel"
    deep = crossed
    if parallel:
        deep = x if model.deep_norm is None else model.deep_norm(x)
    found["bottom"] = deep
    experts = getattr(model, "expert_bottoms", [model.expert_bottom])
    for member, bottom in enumerate(getattr(model, "bottoms", [model.bottom])):
        suffix = f"_{member}" if member else ""
        of_heads = {f"heads{suffix}": bottom(deep, training=False)}
        if model.expert_bottom is not None:
            found[f"experts{suffix}"] = of_heads.pop(f"heads{suffix}")
            mixtures = experts[member](found[f"experts{suffix}"], training=False)
            of_heads = {f"heads{suffix}/{task}": x for task, x in mixtures.items()}
        found |= {name: tf.concat([x, crossed], axis=1) if parallel else x for name, x in of_heads.items()}
    if model.wide is not None:
        found["wide"] = tf.concat(list(model.wide(inputs).values()), axis=1)
    return {name: tf.reduce_mean(tf.cast(value, tf.float64), axis=0).numpy() for name, value in found.items()}
