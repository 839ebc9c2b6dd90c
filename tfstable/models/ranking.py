"""The multitask ranking model."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from pydantic import TypeAdapter

from tfstable.inputs.statistics import Statistics, is_several_valued, table_name, table_rows
from tfstable.layers import (
    ClipActivation,
    CrossTower,
    EmbeddingFeature,
    Embeddings,
    FeatureNormalization,
    GeneralisedSmeLU,
    ReZero,
    SmeLU,
)
from tfstable.models import tasks as task_math
from tfstable.models.multitask import MultitaskModel
from tfstable.specs import BinaryTask, Feature, NumericFeature, TaskSpec


@keras.saving.register_keras_serializable(package="tfstable")
class RankingModel(MultitaskModel):
    """Embeddings and numbers -> cross layers -> shared bottom -> one head a task.

    Each stage is a method that a subclass can replace: `embed`, `interact`, `shared_bottom`, `heads`, `wide_logits`,
    `compute_loss`. Each takes `training`, which a subclass may leave out: Keras tells the layers in it all the same.
    Losses that a stage or a layer adds by `add_loss` count once. A subclass takes its own arguments by keyword and
    passes the others on. Variables are made by the first use, so a subclass makes its layers in `__init__` or `build`.

    Args:
        features: Feature specs by name.
        tasks: Task specs by name.
        statistics: What `statistics.fit` learned: sizes of the tables, base rates for the heads' biases.
        cross_depth: DCN-v2 cross layers on the input; 0 for none.
        cross_rank: Rank of their matrices; None for full ones.
        cross_experts: Low-rank experts of each, mixed by gates; more than 1 needs a `cross_rank`.
        cross_arrangement: "stacked": the bottom reads what the cross layers put out. "parallel": it reads the input
            as they do, and the heads read both outputs side by side; needs cross layers.
        input_normalisation: "features": each embedded feature's vector is divided by its own size before anything reads
            it, and numbers, which are standardised, stay as they are. "layer": layer normalisation over the bottom's
            whole input, after the cross layers where there are any (Tang et al., 2023); it takes the size of a few
            numbers away. "none": neither.
        units: Widths of the shared bottom's layers.
        activation: Keras activation by name, or "smelu".
        beta: Half-width of SmeLU, in the units of its input.
        slope_below: Slope of SmeLU below its parabola: 0, or that of the generalised form.
        activation_clip: Largest absolute activation of the dense layers; None for no clipping.
        hidden_normalisation: Layer normalisation before each activation of the bottom.
        rezero: ReZero residuals around the bottom's layers that keep their width.
        dropout: Rate after each activation, in [0, 1).
        tower_units: Widths of each task's own layers above the bottom.
        wide: Add a linear model of the categorical features to the logit of each binary task: one that is rarely
            positive learns a few numbers of its own, past the bottom that the frequent tasks shape (Cheng et al.,
            "Wide & Deep Learning for Recommender Systems", 2016).

    Under plain `compile` the tasks bring their losses; see `MultitaskModel`.

    Shapes:
        In: what `features.Preprocessor` returns. Out: a dict with `(batch,)` predictions a task, in its own
        units (probabilities; values of the regression target). Logits and predictions are float32 whatever the
        precision of the layers, and float64 under the policy "float64".

    Raises:
        ValueError: If `cross_arrangement` or `input_normalisation` is outside its domain, or the dtype policy computes
            or stores in float16.
    """

    def __init__(
        self,
        features: Mapping[str, Feature],
        tasks: Mapping[str, TaskSpec],
        statistics: Statistics,
        *,
        cross_depth: int = 0,
        cross_rank: int | None = None,
        cross_experts: int = 1,
        cross_arrangement: str = "stacked",
        input_normalisation: str = "features",
        units: Sequence[int] = (256, 256),
        activation: str = "relu",
        beta: float = 1.0,
        slope_below: float = 0.0,
        activation_clip: float | None = None,
        hidden_normalisation: bool = False,
        rezero: bool = False,
        dropout: float = 0.0,
        tower_units: Sequence[int] = (),
        wide: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if cross_arrangement not in ("stacked", "parallel") or (cross_arrangement == "parallel" and not cross_depth):
            raise ValueError(
                "cross_arrangement must be stacked, or parallel with a cross_depth of at least 1, "
                f"got {cross_arrangement} with cross_depth={cross_depth}"
            )
        if input_normalisation not in ("features", "layer", "none"):
            raise ValueError(f"input_normalisation must be features, layer or none, got {input_normalisation}")
        if "float16" in (self.compute_dtype, self.variable_dtype):
            raise ValueError(
                f"dtype must not be {self.dtype_policy.name}: gradients and their squares leave the range of float16; "
                "take mixed_bfloat16 or float32."
            )
        self._config = {
            "cross_depth": cross_depth,
            "cross_rank": cross_rank,
            "cross_experts": cross_experts,
            "cross_arrangement": cross_arrangement,
            "input_normalisation": input_normalisation,
            "units": list(units),
            "activation": activation,
            "beta": beta,
            "slope_below": slope_below,
            "activation_clip": activation_clip,
            "hidden_normalisation": hidden_normalisation,
            "rezero": rezero,
            "dropout": dropout,
            "tower_units": list(tower_units),
            "wide": wide,
        }
        self.feature_specs, self.task_specs, self.statistics = dict(features), dict(tasks), statistics
        policy = self.dtype_policy  # The model's own, perhaps not the global one: a loaded model brings its policy.
        self.embeddings = Embeddings(self._embedding_features(), name="embeddings", dtype=policy)
        self.feature_norm = None
        if input_normalisation == "features" and self.embeddings.features:
            widths = [feature.dim for feature in self.embeddings.features.values()]
            self.feature_norm = FeatureNormalization(widths, name="feature_norm", dtype=policy)
        self.wide_tasks = [name for name, task in tasks.items() if wide and isinstance(task, BinaryTask)]
        # A row of logits a value, the tasks beside each other: zeros, so that training starts at the base rates.
        per_task = {name: f._replace(dim=len(self.wide_tasks)) for name, f in self._embedding_features().items()}
        has_wide = self.wide_tasks and per_task
        self.wide = Embeddings(per_task, stddev=0.0, name="wide", dtype=policy) if has_wide else None
        self.numeric = [name for name, f in features.items() if isinstance(f, NumericFeature)]
        self.cross = None
        if cross_depth:
            self.cross = CrossTower(cross_depth, cross_rank, cross_experts, name="cross", dtype=policy)
        self.input_norm = self.deep_norm = None
        if input_normalisation == "layer":
            self.input_norm = keras.layers.LayerNormalization(name="input_norm", dtype=policy)
            if cross_arrangement == "parallel":
                self.deep_norm = keras.layers.LayerNormalization(name="deep_norm", dtype=policy)
        self.bottom = self.dense_stack(units, "bottom", rezero=rezero)
        self.towers = {name: self.dense_stack(tower_units, f"tower_{name}") for name in tasks}
        self.outputs_of = {name: self.output_layer(name) for name in tasks}

    # --- The stages.

    def embed(self, features, training=None):
        """Returns the model's input vector, `(batch, width)`: embeddings, then numbers."""
        embedded = len(self.numeric) < len(self.feature_specs)
        vectors = [self.embeddings(features, joined=True)] if embedded else []
        if self.feature_norm is not None:
            vectors = [self.feature_norm(vectors[0])]
        if self.numeric:
            numbers = [tf.cast(features[name], self.compute_dtype) for name in self.numeric]
            vectors.append(tf.stack(numbers, axis=1))  # (batch, numbers)
        return tf.concat(vectors, axis=1)

    def interact(self, x, training=None):
        """Crosses the input's elements with each other: `(batch, width)` to the same."""
        if self.cross is not None:
            x = self.cross(x)
        return x if self.input_norm is None else self.input_norm(x)

    def shared_bottom(self, x, training=None):
        """Returns what all tasks share, `(batch, units)`, or a dict of one such tensor a task."""
        return self.bottom(x, training=training)

    def heads(self, shared, training=None):
        """Returns the logits of each task, `(batch,)`, from the output of `shared_bottom`."""
        logits = {}
        for name in self.task_specs:
            x = shared[name] if isinstance(shared, Mapping) else shared
            logits[name] = tf.squeeze(self.outputs_of[name](self.towers[name](x, training=training)), axis=1)
        return logits

    def wide_logits(self, features, training=None):
        """Returns what the linear model adds to the logits of binary tasks, `(batch,)`; empty without one."""
        if self.wide is None:
            return {}
        total = tf.cast(tf.add_n(list(self.wide(features).values())), self.logit_dtype)  # (batch, wide tasks)
        return dict(zip(self.wide_tasks, tf.unstack(total, axis=1), strict=True))

    # --- What the stages are put together to.

    def call(self, features, training=None, as_logits=False):
        if missing := [name for name in self.feature_specs if name not in features]:
            raise ValueError(f"no input for feature {', '.join(missing)}; there is {', '.join(features) or 'none'}.")
        x = self.stage(self.embed, features, training=training)
        crossed = self.stage(self.interact, x, training=training)
        if self._config["cross_arrangement"] == "parallel":
            deep = x if self.deep_norm is None else self.deep_norm(x)
            shared = _beside(self.stage(self.shared_bottom, deep, training=training), crossed)
        else:
            shared = self.stage(self.shared_bottom, crossed, training=training)
        wide = self.stage(self.wide_logits, features, training=training)
        deep = self.stage(self.heads, shared, training=training)
        logits = {name: logit + wide.get(name, 0.0) for name, logit in deep.items()}
        return logits if as_logits else self.predictions(logits)

    def build(self, input_shape=None):
        """Creates all variables by a call on one example of zeros."""
        self.built = True  # Else the call would build again.
        try:
            with tf.init_scope():
                self(
                    {name: tf.zeros([1, *spec.shape[1:]], spec.dtype) for name, spec in self.input_signature().items()}
                )
        except BaseException:
            self.built = False
            raise

    # --- Building blocks for subclasses.

    def dense_stack(self, units: Sequence[int], name: str, rezero: bool = False) -> keras.Sequential:
        """Returns a stack of dense layers with the model's activation, normalisation and dropout."""
        config, policy, layers, width = self._config, self.dtype_policy, [], None
        for i, size in enumerate(units):
            block = [keras.layers.Dense(size, kernel_initializer="he_normal", name=f"dense_{i}", dtype=policy)]
            if config["hidden_normalisation"]:
                block.append(keras.layers.LayerNormalization(name=f"norm_{i}", dtype=policy))
            if config["activation"] == "smelu" and config["slope_below"]:
                a = b = config["beta"]
                block.append(GeneralisedSmeLU(a, b, config["slope_below"], dtype=policy))
            elif config["activation"] == "smelu":
                block.append(SmeLU(config["beta"], dtype=policy))
            else:
                block.append(keras.layers.Activation(config["activation"], dtype=policy))
            if config["activation_clip"] is not None:
                block.append(ClipActivation(config["activation_clip"], dtype=policy))
            if config["dropout"]:
                block.append(keras.layers.Dropout(config["dropout"], dtype=policy))
            if rezero and size == width:
                block = [ReZero(keras.Sequential(block), name=f"rezero_{i}", dtype=policy)]
            layers += block
            width = size
        return keras.Sequential(layers or [keras.layers.Identity(dtype=policy)], name=name)

    def output_layer(self, task: str, name: str | None = None) -> keras.layers.Dense:
        """Returns a layer that turns a task's representation into its logit, starting at the base rate."""
        bias = task_math.initial_logit(self.task_specs[task], self.statistics.base_rates[task])
        return keras.layers.Dense(
            1, bias_initializer=keras.initializers.Constant(bias), dtype=self.logit_dtype, name=name or f"output_{task}"
        )

    def _embedding_features(self):
        return {
            name: EmbeddingFeature(
                table_name(name, f), table_rows(name, f, self.statistics), f.dim, getattr(f, "pooling", "mean")
            )
            for name, f in self.feature_specs.items()
            if not isinstance(f, NumericFeature)
        }

    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the shape and type of each input, for any batch size."""
        return {name: self._tensor_spec(name, feature) for name, feature in self.feature_specs.items()}

    def _tensor_spec(self, name, feature):
        if isinstance(feature, NumericFeature):
            return tf.TensorSpec([None], tf.float32, name)
        several = is_several_valued(name, feature, self.statistics)
        return tf.TensorSpec([None, feature.max_values] if several else [None], tf.int32, name)

    # --- Serialisation.

    def get_config(self):
        return {
            **super().get_config(),
            **self._config,
            "features": {name: spec.model_dump(mode="json") for name, spec in self.feature_specs.items()},
            "tasks": {name: spec.model_dump(mode="json") for name, spec in self.task_specs.items()},
            "statistics": self.statistics.model_dump(mode="json"),
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **{
                **config,
                "features": TypeAdapter(dict[str, Feature]).validate_python(config["features"]),
                "tasks": TypeAdapter(dict[str, TaskSpec]).validate_python(config["tasks"]),
                "statistics": Statistics.model_validate(config["statistics"]),
            }
        )


def _beside(shared, crossed):
    """What the bottom put out, `(batch, units)` or a dict of such, widened by what the cross layers put out."""
    if isinstance(shared, Mapping):
        return {name: tf.concat([x, crossed], axis=1) for name, x in shared.items()}
    return tf.concat([shared, crossed], axis=1)
