"""The multitask ranking model."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import keras
import tensorflow as tf
from pydantic import TypeAdapter

from tfstable.inputs.statistics import Statistics, is_several_valued, table_keys, table_name, table_rows, vector_width
from tfstable.layers import CrossTower, EmbeddingFeature, Embeddings, FeatureNormalization, VectorInput
from tfstable.models import tasks as task_math
from tfstable.models.blocks import activation, dense_stack, output_start
from tfstable.models.experts import experts_above
from tfstable.models.histories import Histories
from tfstable.models.loss_weights import make_loss_weights
from tfstable.models.multitask import MultitaskModel
from tfstable.models.penalised import Move
from tfstable.models.task_limit import limited
from tfstable.options import ranking_options
from tfstable.specs import (
    BinaryTask,
    Categorical,
    Feature,
    NumericFeature,
    QuantileFeature,
    TaskSpec,
    VectorFeature,
    check_products,
    headed,
)

Inputs = Mapping[str, tf.Tensor]  # By feature, as `tfstable.inputs.preprocessor` returns them.


@keras.saving.register_keras_serializable(package="tfstable")
class RankingModel(MultitaskModel):
    """Embeddings, numbers and histories -> cross layers -> shared bottom or experts -> one head per task.

    Each stage is a method that a subclass can replace: `embed`, `sequence`, `interact`, `shared_bottom`, `heads`,
    `wide_logits`, `compute_loss`. Each takes `training`, which a subclass may leave out: Keras tells the layers in it
    all the same. Losses that a stage or a layer adds by `add_loss` count once. A subclass takes its own arguments by
    keyword and passes the others on. Variables are made by the first use, so a subclass makes its layers in `__init__`
    or `build`.

    Args:
        features: Feature specs by name.
        tasks: Task specs by name.
        statistics: The result of `statistics.fit`: sizes of the tables, base rates for the heads' biases.
        name, dtype, trainable: See `keras.Model`.
        **options: The keys of `tfstable.options.RankingOptions`, such as `units=(256, 256)` or `cross_depth=1`.

    Under plain `compile` the tasks bring their losses; see `MultitaskModel`.

    Shapes:
        In: the output of `Preprocessor`. Out: a dict with `(batch,)` predictions per task, in the task's own units
        (probabilities; values of the regression target). Logits and predictions are float32 for layers of any
        precision, but float64 under the policy "float64".

    Raises:
        TypeError: If an option is unknown.
        ValueError: If an option is outside its domain, or the dtype policy computes or stores in float16.
    """

    def __init__(
        self,
        features: Mapping[str, Feature],
        tasks: Mapping[str, TaskSpec],
        statistics: Statistics,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.options = ranking_options(type(self).__name__, options)
        if "float16" in (self.compute_dtype, self.variable_dtype):
            raise ValueError(
                f"dtype must not be {self.dtype_policy.name}: gradients and their squares leave the range of float16; "
                "take mixed_bfloat16 or float32."
            )
        self.feature_specs, self.task_specs, self.statistics = dict(features), dict(tasks), statistics
        check_products(tasks)
        heads = headed(tasks)
        self.logit_penalty = self.options.logit_penalty
        self.make_maps()
        self.set_penalty(self.options.penalty)
        policy = self.dtype_policy  # The model's own, perhaps not the global one: a loaded model brings its policy.
        self.embeddings = Embeddings(self._embedding_features(), name="embeddings", dtype=policy)
        self.histories = None
        if self.options.sequences:
            arguments = self.feature_specs, statistics, self.options, activation(self.options, policy)
            self.histories = Histories(*arguments, name="histories", dtype=policy)
        pooled = self._embedding_features()
        for name in self.histories.embedded if self.histories else ():
            del pooled[name]
        self.pooled = list(pooled)  # Features that are embedded and no part of a history.
        self.feature_norm = None
        if self.options.input_normalisation == "features" and pooled:
            widths = [feature.dim for feature in pooled.values()]
            self.feature_norm = FeatureNormalization(widths, name="feature_norm", dtype=policy)
        self.wide_tasks = [name for name in heads if self.options.wide and isinstance(tasks[name], BinaryTask)]
        of_tasks = len(self.wide_tasks)  # A column per task, zeros at first, whatever vectors are pretrained.
        per_task = {n: f._replace(dim=of_tasks, trainable=True, rate=1.0) for n, f in pooled.items() if of_tasks}
        self.wide = (
            Embeddings(per_task, stddev=0.0, columns_apart=True, name="wide", dtype=policy) if per_task else None
        )
        self.numeric = [name for name, f in features.items() if isinstance(f, NumericFeature)]
        self.vectors = [name for name, f in features.items() if vector_width(f)]
        self.vector_inputs = {
            name: VectorInput(f.projection, f.normalise, name=f"vector_{name}", dtype=policy)
            for name, f in features.items()
            if isinstance(f, VectorFeature) and (f.projection or f.normalise != "none")
        }
        self.cross = None
        if self.options.cross_depth:
            depth, rank, experts = self.options.cross_depth, self.options.cross_rank, self.options.cross_experts
            self.cross = CrossTower(depth, rank, experts, name="cross", dtype=policy)
        self.input_norm = self.deep_norm = None
        if self.options.input_normalisation == "layer":
            self.input_norm = keras.layers.LayerNormalization(name="input_norm", dtype=policy)
            if self.options.cross_arrangement == "parallel":
                self.deep_norm = keras.layers.LayerNormalization(name="deep_norm", dtype=policy)
        self.bottom = self.dense_stack(self.options.units, "bottom", rezero=self.options.rezero)
        self.expert_bottom = experts_above(self.options, heads, "experts", policy)
        self.towers = {name: self.dense_stack(self.options.tower_units, f"tower_{name}") for name in heads}
        self.outputs_of = {name: self.output_layer(name) for name in heads}
        specs = {name: tasks[name] for name in self.labelled}
        self.task_weights = make_loss_weights(self.options.loss_weights, specs, self.logit_dtype)

    # --- The stages.

    def embed(self, features: Inputs, training: bool | None = None) -> tf.Tensor:
        """Returns the model's input vector, `(batch, width)`: embeddings, then numbers, then vectors."""
        names = {"names": self.pooled} if self.histories else {}
        vectors = [self.embeddings(features, joined=True, **names)] if self.pooled else []
        if self.feature_norm is not None:
            vectors = [self.feature_norm(vectors[0])]
        return tf.concat(vectors + self.numbers(self.numeric + self.vectors, features), axis=1)

    def sequence(self, features: Inputs, training: bool | None = None) -> tf.Tensor | None:
        """Returns what the model reads of histories, `(batch, width)`, which joins its input vector; None without."""
        if self.histories is None:
            return None
        if not self.embeddings.built:
            self.embeddings.build()
        return tf.concat(list(self.histories(features, embeddings=self.embeddings).values()), axis=1)

    def interact(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Crosses the input's elements with each other: `(batch, width)` in and out."""
        if self.cross is not None:
            x = self.cross(x)
        return x if self.input_norm is None else self.input_norm(x)

    def shared_bottom(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor | Mapping[str, tf.Tensor]:
        """Returns the representation that all tasks share, `(batch, units)`, or a dict of one such tensor per task."""
        x = self.bottom(x, training=training)
        return x if self.expert_bottom is None else self.expert_bottom(x, training=training)

    def heads(self, shared: tf.Tensor | Mapping[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns the logits of each task with a head, `(batch,)`, from the output of `shared_bottom`."""
        logits = {}
        for name in self.towers:
            x = shared[name] if isinstance(shared, Mapping) else shared
            logits[name] = tf.squeeze(self.outputs_of[name](self.towers[name](x, training=training)), axis=1)
        return logits

    def wide_logits(self, features: Inputs, training: bool | None = None) -> dict[str, tf.Tensor]:
        """Returns the linear model's addition to each binary task's logits, `(batch,)`; empty without that model."""
        if self.wide is None:
            return {}
        total = tf.cast(tf.add_n(list(self.wide(features).values())), self.logit_dtype)  # (batch, wide tasks)
        return dict(zip(self.wide_tasks, tf.unstack(total, axis=1), strict=True))

    # --- The model from its stages.

    def call(
        self, features: Inputs, training: bool | None = None, as_logits: bool = False, move: Move | None = None
    ) -> dict[str, tf.Tensor]:
        if missing := [name for name in self.feature_specs if name not in features]:
            raise ValueError(f"no input for feature {', '.join(missing)}; there is {', '.join(features) or 'none'}.")
        x = self.stage(self.embed, features, training=training)
        if (read := self.stage(self.sequence, features, training=training)) is not None:
            x = tf.concat([x, read], axis=1)
        if move is not None:
            x = move(x)
        crossed = self.stage(self.interact, x, training=training)
        if self.options.cross_arrangement == "parallel":
            deep = x if self.deep_norm is None else self.deep_norm(x)
            shared = _beside(self.stage(self.shared_bottom, deep, training=training), crossed)
        else:
            shared = self.stage(self.shared_bottom, crossed, training=training)
        if training and self.options.task_gradient_limit is not None:
            shared = limited(shared, self.towers, self.options.task_gradient_limit)
        wide = self.stage(self.wide_logits, features, training=training)
        deep = self.stage(self.heads, shared, training=training)
        logits = {name: logit + wide.get(name, 0.0) for name, logit in deep.items()}
        logits = task_math.with_products(self.task_specs, logits)
        return logits if as_logits else self.predictions(logits)

    def build(self, input_shape: Any = None) -> None:
        """Creates all variables by a call on one example of zeros."""
        self.built = True  # Else the call would build again.
        try:
            if self.task_weights is not None:
                self.task_weights.build()
            with tf.init_scope():
                self(
                    {name: tf.zeros([1, *spec.shape[1:]], spec.dtype) for name, spec in self.input_signature().items()}
                )
        except BaseException:
            self.built = False
            raise

    # --- Building blocks for subclasses.

    def numbers(self, names: Sequence[str], features: Inputs) -> list[tf.Tensor]:
        """Returns the parts of the input vector that are not embedded, each `(batch, width)`.

        Args:
            names: Features out of `numeric` and `vectors`, in any order.
            features: The model's inputs.
        """
        single = [tf.cast(features[name], self.compute_dtype) for name in names if name in self.numeric]
        parts = [tf.stack(single, axis=1)] if single else []  # (batch, numbers)
        return parts + [self._vector(name, features[name]) for name in names if name in self.vectors]

    def number_widths(self) -> dict[str, int]:
        """Returns the width of each feature that is not embedded, in their order in the input vector."""
        signature = self.input_signature()
        widths = {name: signature[name].shape for name in self.vectors}
        widths |= {name: layer.compute_output_shape(widths[name]) for name, layer in self.vector_inputs.items()}
        return dict.fromkeys(self.numeric, 1) | {name: shape[1] for name, shape in widths.items()}

    def _vector(self, name: str, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, self.compute_dtype)
        return self.vector_inputs[name](x) if name in self.vector_inputs else x

    def dense_stack(self, units: Sequence[int], name: str, rezero: bool = False) -> keras.Sequential:
        """Returns dense layers with the model's activation and other options; "bottom..." reads the model's input."""
        reads_input = name.startswith("bottom")
        return dense_stack(self.options, units, name, rezero, self.dtype_policy, linear_input=reads_input)

    def output_layer(self, task: str, name: str | None = None) -> keras.layers.Dense:
        """Returns a layer that turns a task's representation into its logit, starting at the base rate."""
        bias = task_math.initial_logit(self.task_specs[task], self.statistics.base_rates[task])
        start = output_start(self.options, bias)
        return keras.layers.Dense(1, **start, dtype=self.logit_dtype, name=name or f"output_{task}")

    def _embedding_features(self) -> dict[str, EmbeddingFeature]:
        statistics, stack = self.statistics, self.options.stack_tables
        return {
            name: EmbeddingFeature(table_name(name, f), table_rows(name, f, statistics), f.dim, *table_keys(f), stack)
            for name, f in self.feature_specs.items()
            if isinstance(f, Categorical | QuantileFeature)
        }

    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the shape and type of each input, for any batch size."""
        return {name: self._tensor_spec(name, feature) for name, feature in self.feature_specs.items()}

    def _tensor_spec(self, name: str, feature: Feature) -> tf.TensorSpec:
        if isinstance(feature, NumericFeature):
            return tf.TensorSpec([None], tf.float32, name)
        if width := vector_width(feature):
            return tf.TensorSpec([None, width], tf.float32, name)
        several = is_several_valued(name, feature, self.statistics)
        assert isinstance(feature, Categorical | QuantileFeature)
        return tf.TensorSpec([None, feature.max_values] if several else [None], tf.int32, name)

    # --- Serialisation.

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self.options.model_dump(mode="json"),
            "features": {name: spec.model_dump(mode="json") for name, spec in self.feature_specs.items()},
            "tasks": {name: spec.model_dump(mode="json") for name, spec in self.task_specs.items()},
            "statistics": self.statistics.model_dump(mode="json"),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(
            **{
                **config,
                "features": TypeAdapter(dict[str, Feature]).validate_python(config["features"]),
                "tasks": TypeAdapter(dict[str, TaskSpec]).validate_python(config["tasks"]),
                "statistics": Statistics.model_validate(config["statistics"]),
            }
        )


def _beside(shared: tf.Tensor | Mapping[str, tf.Tensor], crossed: tf.Tensor) -> tf.Tensor | dict[str, tf.Tensor]:
    """The bottom's output, `(batch, units)` or a dict of such tensors, joined with the cross layers' output."""
    if isinstance(shared, Mapping):
        return {name: tf.concat([x, crossed], axis=1) for name, x in shared.items()}
    return tf.concat([shared, crossed], axis=1)
