"""The multitask ranking model."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from pydantic import TypeAdapter

from tfstable.layers import (
    ClipActivation,
    CrossTower,
    EmbeddingFeature,
    Embeddings,
    GeneralisedSmeLU,
    ReZero,
    SmeLU,
)
from tfstable.models import tasks as task_math
from tfstable.specs import BinaryTask, Feature, NumericFeature, TaskSpec
from tfstable.statistics import Statistics, is_several_valued, table_name, table_rows


@keras.saving.register_keras_serializable(package="tfstable")
class RankingModel(keras.Model):
    """Embeddings and numbers -> cross layers -> shared bottom -> one head a task.

    Each stage is a method that a subclass can replace: `embed`, `interact`, `shared_bottom`, `heads`, `wide_logits`,
    `compute_loss`.
    A subclass takes its own arguments by keyword and passes the others on.

    Args:
        features: Feature specs by name.
        tasks: Task specs by name.
        statistics: What `statistics.fit` learned: sizes of the tables, base rates for the heads' biases.
        cross_depth: DCN-v2 cross layers on the input; 0 for none.
        cross_rank: Rank of their matrices; None for full ones.
        cross_experts: Low-rank experts of each, mixed by gates; more than 1 needs a `cross_rank`.
        cross_arrangement: "stacked": the bottom reads what the cross layers put out. "parallel": it reads the input
            as they do, and the heads read both outputs side by side; needs cross layers.
        input_normalisation: Layer normalisation of the bottom's input, and of what the cross layers put out.
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

    Under plain `compile` the tasks bring their losses, and metrics belong into `weighted_metrics`: there masked labels
    have no weight, where in `metrics` they would count as zeros.

    Shapes:
        In: what `features.Preprocessor` returns. Out: a dict with `(batch,)` predictions a task, in its own
        units (probabilities; values of the regression target). Logits and predictions are float32 whatever the
        precision of the layers, and float64 under the policy "float64".
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
        input_normalisation: bool = True,
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
        if input_normalisation:
            self.input_norm = keras.layers.LayerNormalization(name="input_norm", dtype=policy)
            if cross_arrangement == "parallel":
                self.deep_norm = keras.layers.LayerNormalization(name="deep_norm", dtype=policy)
        self.bottom = self.dense_stack(units, "bottom", rezero=rezero)
        self.towers = {name: self.dense_stack(tower_units, f"tower_{name}") for name in tasks}
        self.outputs_of = {name: self.output_layer(name) for name in tasks}
        self.loss_tracker = keras.metrics.Mean(name="loss")

    # --- The stages.

    def embed(self, features):
        """Returns the model's input vector, `(batch, width)`: embeddings, then numbers."""
        embedded = len(self.numeric) < len(self.feature_specs)
        vectors = [self.embeddings(features, joined=True)] if embedded else []
        if self.numeric:
            numbers = tf.stack([features[name] for name in self.numeric], axis=1)  # (batch, numbers)
            vectors.append(tf.cast(numbers, self.compute_dtype))
        return tf.concat(vectors, axis=1)

    def interact(self, x):
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

    def wide_logits(self, features):
        """Returns what the linear model adds to the logits of binary tasks, `(batch,)`; empty without one."""
        if self.wide is None:
            return {}
        total = tf.cast(tf.add_n(list(self.wide(features).values())), self.logit_dtype)  # (batch, wide tasks)
        return dict(zip(self.wide_tasks, tf.unstack(total, axis=1), strict=True))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the scalar loss: the tasks' weighted sum, plus the losses that layers added.

        Args:
            x: Model inputs; unused here.
            y: Labels by task, `(batch,)`, NaN where masked.
            y_pred: Logits by task, `(batch,)`. Not predictions: losses work on logits.
            sample_weight: Example weights, `(batch,)`, or None.
            training: Unused here.
        """
        losses = self.task_losses(y, y_pred, sample_weight)
        total = tf.add_n([self.task_specs[name].weight * loss for name, loss in losses.items()])
        return total + tf.add_n(self.losses) if self.losses else total

    # --- What the stages are put together to.

    def logits(self, features, training=None):
        """Returns the logits of each task, `(batch,)`."""
        x = self.embed(features)
        crossed = self.interact(x)
        if self._config["cross_arrangement"] == "parallel":
            deep = x if self.deep_norm is None else self.deep_norm(x)
            shared = _beside(self.shared_bottom(deep, training=training), crossed)
        else:
            shared = self.shared_bottom(crossed, training=training)
        wide = self.wide_logits(features)
        deep = self.heads(shared, training=training)
        return {name: logit + wide.get(name, 0.0) for name, logit in deep.items()}

    def call(self, features, training=None):
        logits = self.logits(features, training=training)
        return {name: task_math.prediction(task, logits[name]) for name, task in self.task_specs.items()}

    def build(self, input_shape=None):
        """Creates all variables by running the stages once, on one example of zeros."""
        with tf.init_scope():
            self.logits({name: self._zeros(name, feature) for name, feature in self.feature_specs.items()})
        self.built = True

    def task_losses(self, y, logits, sample_weight=None):
        """Returns each task's loss: the sum over its labelled examples, each times its weight, over the batch's size.

        The divisor is the same for every task and every replica, so an example counts the same wherever it falls, and
        a task that is rarely labelled is not blown up in the batches where one example has its label.
        """
        losses = {}
        for name, task in self.task_specs.items():
            each = task_math.loss(task, logits[name], y[name])
            losses[name] = tf.reduce_mean(each if sample_weight is None else each * tf.cast(sample_weight, each.dtype))
        return losses

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

    @property
    def logit_dtype(self) -> str:
        """That of the variables: float32 also under mixed precision, for a logit in bfloat16 has two digits."""
        return self.dtype_policy.variable_dtype

    # --- Plain compile/fit.

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            logits = self.logits(x, training=True)
            loss = self.compute_loss(x, y, logits, sample_weight)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in self.trainable_variables])
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._step_metrics(x, y, logits, sample_weight, loss)

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        logits = self.logits(x, training=False)
        return self._step_metrics(x, y, logits, sample_weight, self.compute_loss(x, y, logits, sample_weight, False))

    def _step_metrics(self, x, y, logits, sample_weight, loss):
        """Updates the loss and the metrics given to `compile`: they see predictions, and masked labels of weight 0."""
        self.loss_tracker.update_state(loss)
        predictions = {name: task_math.prediction(task, logits[name]) for name, task in self.task_specs.items()}
        known = {name: tf.cast(tf.math.is_finite(label), tf.float32) for name, label in y.items()}
        labels = {name: tf.where(known[name] > 0, label, 0.0) for name, label in y.items()}
        weights = {name: mask if sample_weight is None else mask * sample_weight for name, mask in known.items()}
        # (batch, 1): what stands on the last axis, Keras's means average before they weigh.
        labels, predictions = ({name: value[:, None] for name, value in y.items()} for y in (labels, predictions))
        return {
            **self.compute_metrics(x, labels, predictions, weights),
            "loss": self.loss_tracker.result(),
        }

    def _embedding_features(self):
        return {
            name: EmbeddingFeature(
                table_name(name, f), table_rows(name, f, self.statistics), f.dim, getattr(f, "pooling", "mean")
            )
            for name, f in self.feature_specs.items()
            if not isinstance(f, NumericFeature)
        }

    def _zeros(self, name, feature):
        if isinstance(feature, NumericFeature):
            return tf.zeros([1])
        several = is_several_valued(name, feature, self.statistics)
        return tf.zeros([1, feature.max_values] if several else [1], tf.int32)

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
