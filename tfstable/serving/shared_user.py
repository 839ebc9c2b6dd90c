"""Logits of one user and many candidates; the user's part is computed once.

The first layer of the bottom or of the cross tower reads user and candidate side by side. It is a sum, whose user part
is the same for every candidate:

    W [u; c] + b = W_u u + W_c c + b

Layer normalisation before it keeps that form. With gamma and beta folded into the layer (W' = W gamma,
b' = W beta + b), u' = u - mean(u), c' = c - mean(c), d = mean(c) - mean(u), and m, n the widths of u and c:

    z = (W'_u u' + W'_c c' + d (m W'_c 1 - n W'_u 1) / (m + n)) / sigma + b'
    sigma^2 = (|u'|^2 + |c'|^2 + d^2 m n / (m + n)) / (m + n) + epsilon

This is the same function with its sums reordered; centring each part on its own mean avoids cancellation (Chan, Golub,
LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979).
"""

from collections.abc import Collection, Iterable, Sequence

import keras
import keras_rs
import numpy as np
import tensorflow as tf

from tfstable.inputs.statistics import is_several_valued
from tfstable.layers import CrossTower
from tfstable.models import RankingModel
from tfstable.models import tasks as task_math
from tfstable.models.experts import Experts
from tfstable.models.histories import Histories

_STAGES = (
    "embed",
    "sequence",
    "interact",
    "shared_bottom",
    "heads",
    "wide_logits",
    "logits",
    "call",
    "dense_stack",
    "output_layer",
)


def fits(model: RankingModel, user: Collection[str]) -> bool:
    """Returns whether a model can be split: RankingModel's own stages, in float32, and dense layers read the input.

    Args:
        model: The model.
        user: Names of the user's features. A model with a history outside them cannot be split.
    """
    own = all(getattr(type(model), stage) is getattr(RankingModel, stage) for stage in _STAGES)
    one_way = model.get_config()["cross_arrangement"] == "stacked"
    if model.histories is not None and model.histories.embedded - set(user):
        return False
    return own and one_way and model.compute_dtype == "float32" and bool(_first(model))


class SharedUser:
    """A trained model with its first layer folded and split into a user and a candidate part.

    Args:
        model: A model for which `fits` is true.
        user: Names of the user's features.

    Shapes:
        In: as in the model, with one row of the user's features and N rows of the others. Out: logits by task, `(N,)`.
    """

    def __init__(self, model: RankingModel, user: Collection[str]):
        self._model, user = model, set(user)
        histories = {} if model.histories is None else model.histories.options
        read = set() if model.histories is None else model.histories.embedded
        # Of one row where neither history nor query is the candidate's.
        alone = [name for name, sequence in histories.items() if user.issuperset(sequence.query)]
        self._histories = [alone, [name for name in histories if name not in alone]]
        # What of a query is the user's stands beside what is the candidate's.
        self._repeated = {n for name in self._histories[1] for n in histories[name].query if n in user}
        self._parts = [
            [n for n in model.feature_specs if (n in user) is own and n not in read] for own in (True, False)
        ]
        at, at_history = _positions(model)
        at_user, at_candidate = (
            np.concatenate([*(at[n] for n in self._in_order(part)), *(at_history[n] for n in names)]).astype(int)
            for part, names in zip(self._parts, self._histories, strict=True)
        )
        m, n = len(at_user), len(at_candidate)
        first, norm = _first(model), model.input_norm if model.cross is None else None
        # Several first layers, of experts and gates, are one: their kernels side by side.
        kernel = np.concatenate([layer.kernel.numpy().astype(np.float64) for layer in first], axis=1)
        biases = [np.asarray(layer.bias.numpy(), np.float64) for layer in first if layer.use_bias]
        bias = np.concatenate(biases) if biases else np.zeros(1)
        if norm is not None:
            kernel, bias = kernel * norm.gamma.numpy()[:, None], bias + norm.beta.numpy() @ kernel
        of_user, of_candidate = kernel[at_user], kernel[at_candidate]
        self._norm, self._widths, self._bias, self._of_user = norm, (m, n), _constant(bias), _constant(of_user)
        of_distance = (m * of_candidate.sum(axis=0) - n * of_user.sum(axis=0)) / (m + n)
        self._of_candidate = _constant(of_candidate if norm is None else np.vstack([of_candidate, of_distance]))
        dense_first = model.cross is None and isinstance(model.bottom.layers[0], keras.layers.Dense)
        self._rest = model.bottom.layers[1:] if dense_first else model.bottom.layers
        # The outputs of experts' and gates' first layers have to be told apart.
        self._first_widths = [] if dense_first or model.cross is not None else [layer.units for layer in first]
        self._in_model = np.argsort(np.concatenate([at_user, at_candidate])).astype(np.int32)
        self._heads = _SideBySide(model) if _SideBySide.fits(model) else model.heads

    def __call__(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        user, candidate = (self._vector(part, features) for part in self._parts)  # (1, m), (N, n)
        if (histories := self._model.histories) is not None:
            read = self._read(histories, tf.shape(candidate)[0], features)
            user, candidate = (
                tf.concat([x, *(read[name] for name in names)], axis=1)
                for x, names in zip((user, candidate), self._histories, strict=True)
            )
        x = self._first_layer(user, candidate)
        if (tower := self._model.cross) is not None:
            x = self._cross(tower, user, candidate, x)
        shared = _one_after_the_other(self._rest, x)
        if (experts := self._model.expert_bottom) is not None:
            shared = _mixtures(experts, shared, self._first_widths)
        logits = self._heads(shared)
        wide = self._wide(features)
        logits = {name: logit + wide.get(name, 0.0) for name, logit in logits.items()}
        return task_math.with_products(self._model.task_specs, logits)

    def _read(
        self, histories: Histories, candidates: tf.Tensor, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """What is read of each history, `(1, width)` or `(N, width)`; a history is looked up once, without padding."""
        ends = [
            tf.reduce_max(tf.where(features[name] >= 0, tf.range(1, features[name].shape[1] + 1), 1))
            for name in sorted(histories.embedded)
        ]
        length = tf.reduce_max(tf.stack(ends))
        one_row = {name: tf.ensure_shape(features[name][:, :length], [1, None]) for name in histories.embedded}
        repeated = {name: tf.repeat(features[name], candidates, axis=0) for name in self._repeated}
        return histories({**features, **one_row, **repeated}, embeddings=self._model.embeddings)

    def _first_layer(self, user: tf.Tensor, candidate: tf.Tensor) -> tf.Tensor:
        if self._norm is None:
            return tf.matmul(candidate, self._of_candidate) + (tf.matmul(user, self._of_user) + self._bias)
        m, n = self._widths
        means = [tf.reduce_mean(x, axis=1, keepdims=True) for x in (user, candidate)]
        user, candidate, distance = user - means[0], candidate - means[1], means[1] - means[0]
        squares = [tf.reduce_sum(tf.square(x), axis=1, keepdims=True) for x in (user, candidate)]
        variance = (squares[0] + squares[1] + tf.square(distance) * (m * n / (m + n))) / (m + n)
        scale = tf.math.rsqrt(variance + self._norm.epsilon)  # (N, 1)
        # 1 / sigma scales the narrow input, not the wide output; the user's part is then one more row of the kernel.
        kernel = tf.concat([self._of_candidate, tf.matmul(user, self._of_user)], axis=0)  # (n + 2, units)
        return tf.matmul(tf.concat([candidate * scale, distance * scale, scale], axis=1), kernel) + self._bias

    def _cross(self, tower: CrossTower, user: tf.Tensor, candidate: tf.Tensor, projected: tf.Tensor) -> tf.Tensor:
        """The cross layers' output: x_1 = x_0 * (W x_0 + b) + x_0 from the first product, `projected`, and so on."""
        every = tf.concat([tf.repeat(user, tf.shape(candidate)[0], axis=0), candidate], axis=1)
        x0 = tf.gather(every, self._in_model, axis=1)  # (N, width), in the model's order
        first, *others = tower.layers
        x = x0 * (projected if first.projection_dim is None else first.dense(projected)) + x0
        for layer in others:
            x = layer(x0, x)
        return x if self._model.input_norm is None else self._model.input_norm(x)

    def _vector(self, part: Sequence[str], features: dict[str, tf.Tensor]) -> tf.Tensor:
        """The input vector of one side, `(rows, width)`, in the order of `_in_order`."""
        parts = []
        for names in self._by_width(part):
            vectors = self._model.embeddings.side_by_side(names, features)
            if self._model.feature_norm is not None:
                vectors = self._model.feature_norm.normalise(vectors)
            parts.append(tf.reshape(vectors, [-1, vectors.shape[1] * vectors.shape[2]]))
        numbers = [name for name in part if name not in self._model.embeddings.features]
        return tf.concat(parts + self._model.numbers(numbers, features), axis=1)

    def _wide(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if self._model.wide is None:
            return {}
        total = 0.0  # (1, tasks) of the user plus (N, tasks)
        for part in self._parts:
            for names in self._by_width(part):
                total += tf.reduce_sum(self._model.wide.side_by_side(names, features), axis=1)
        return dict(zip(self._model.wide_tasks, tf.unstack(total, axis=1), strict=True))

    def _in_order(self, part: Sequence[str]) -> list[str]:
        embedded = [name for names in self._by_width(part) for name in names]
        return embedded + [name for name in self._model.number_widths() if name in part]

    def _by_width(self, part: Sequence[str]) -> list[list[str]]:
        """Embedded features of a part in groups of one width, single-valued and several-valued ones apart."""
        groups: dict[tuple, list[str]] = {}
        for name in part:
            if name in self._model.embeddings.features:
                groups.setdefault((self._model.embeddings.features[name].stack, self._several(name)), []).append(name)
        return list(groups.values())

    def _several(self, name: str) -> bool:
        return is_several_valued(name, self._model.feature_specs[name], self._model.statistics)


class _SideBySide:
    """The heads of all tasks at once: the towers' kernels side by side, the output kernels on a block diagonal."""

    @staticmethod
    def fits(model: RankingModel) -> bool:
        if model.expert_bottom is not None:
            return False  # Each task has an input of its own.
        layers = [layer for tower in model.towers.values() for layer in tower.layers]
        dense = sum(isinstance(layer, keras.layers.Dense) for layer in layers) / len(model.towers)
        plain = not any(isinstance(layer, keras.layers.LayerNormalization) for layer in layers)
        return dense == 0 or (dense == 1 and plain)

    def __init__(self, model: RankingModel):
        towers, outputs = list(model.towers.values()), list(model.outputs_of.values())
        self._tasks, self._tower = list(model.towers), None
        kernels = [output.kernel.numpy() for output in outputs]
        if isinstance(towers[0].layers[0], keras.layers.Dense):
            dense = [tower.layers[0] for tower in towers]
            self._tower = [
                _constant(np.concatenate([getattr(d, v).numpy() for d in dense], axis=-1)) for v in ("kernel", "bias")
            ]
            self._activation = towers[0].layers[1:]  # Element-wise, and the same for every tower.
            size = kernels[0].shape[0]
            blocks = np.zeros((len(kernels) * size, len(kernels)))
            for i, kernel in enumerate(kernels):
                blocks[i * size : (i + 1) * size, i] = kernel[:, 0]
            self._kernel = _constant(blocks)
        else:
            self._kernel = _constant(np.concatenate(kernels, axis=1))
        self._bias = _constant(np.concatenate([output.bias.numpy() for output in outputs]))

    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        if self._tower is not None:
            x = _one_after_the_other(self._activation, tf.matmul(x, self._tower[0]) + self._tower[1])
        logits = tf.matmul(x, self._kernel) + self._bias  # (N, tasks)
        return dict(zip(self._tasks, tf.unstack(logits, axis=1), strict=True))


def _one_after_the_other(layers: Iterable[keras.layers.Layer], x: tf.Tensor) -> tf.Tensor:
    """Applies layers in turn, like a keras.Sequential, which would leave permanent references in the model's layers."""
    for layer in layers:
        x = layer(x)  # In inference mode.
    return x


def _mixtures(experts: Experts, x: tf.Tensor, first_widths: Sequence[int]) -> dict[str, tf.Tensor]:
    """The output of experts in inference, by task.

    Args:
        experts: The experts.
        x: What they read, or the outputs of their first layers side by side.
        first_widths: Widths of those outputs, in the order of `first_layers`; empty if x is what they read.
    """
    reads = dict.fromkeys(experts.levels[0].gates, x)
    for number, level in enumerate(experts.levels):
        outputs, logits = {}, {}
        parts = iter(tf.split(x, first_widths, axis=1) if first_widths and not number else ())
        for name, stack in level.stacks.items():
            part = next(parts, None)
            outputs[name] = (
                _one_after_the_other(stack.layers, level.read_by(name, reads))
                if part is None
                else _one_after_the_other(stack.layers[1:], part)
            )
        for group, gate in level.gates.items():
            part = next(parts, None)
            logits[group] = gate(reads[group]) if part is None else part
        reads = level.mix(outputs, logits)
    return reads


def _first(model: RankingModel) -> list[keras.layers.Dense]:
    """The layers that read the input vector; empty if it is read otherwise than by dense layers."""
    if model.cross is None:
        if isinstance(first := model.bottom.layers[0], keras.layers.Dense):
            return [first]
        return [] if model.expert_bottom is None else model.expert_bottom.first_layers()
    first = model.cross.layers[0]
    if not isinstance(first, keras_rs.layers.FeatureCross):
        return []  # A mixture of experts has several first layers.
    return [first.dense if first.projection_dim is None else first.down_proj_dense]


def _positions(model: RankingModel) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Positions of each feature, and of each history's reading, in the model's input vector."""
    widths = {name: model.embeddings.features[name].dim for name in model.pooled} | model.number_widths()
    of_histories = {} if model.histories is None else model.histories.widths
    ends = np.cumsum([*widths.values(), *of_histories.values()])
    places = [
        np.arange(end - width, end) for width, end in zip([*widths.values(), *of_histories.values()], ends, strict=True)
    ]
    return dict(zip(widths, places, strict=False)), dict(zip(of_histories, places[len(widths) :], strict=True))


def _constant(value: np.ndarray) -> tf.Variable:
    return tf.Variable(np.asarray(value, np.float32), trainable=False)
