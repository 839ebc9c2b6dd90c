"""A history, weighted by what each position has to do with the candidate: the attention of DIN."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_pair
from tfstable.layers.smelu import SmeLU


@keras.saving.register_keras_serializable(package="tfstable")
class TargetAttention(keras.layers.Layer):
    """Sums the positions of a history, each times a score of the candidate and the position.

        y = sum_i m_i s_i [k_i; c_i],    s_i = MLP([q; k_i; c_i; q - k_i; q * k_i]),    m_i = 0 where padded

    The query q is compared with the first elements of each position, k_i, one by one: a video with the videos seen. The
    rest of a position, c_i, such as the time since, has no counterpart in the query. There is no softmax by default: a
    user who saw much of a kind gets a larger vector than one who saw a little of it.

    The first layer of the MLP is computed without the concatenation, from smaller products:

        W [q; k; c; q - k; q * k] = (W_1 + W_4) q + [W_2 - W_4; W_3] [k; c] + W_5 (q * k)

    Where all queries share one history, each product with the history is computed once.

    Args:
        units: Widths of the MLP's hidden layers. At least one.
        activation: Activation of the hidden layers: a Keras activation by name, or a callable.
        softmax: Turn the scores into weights that sum to 1.

    Call arguments:
        query: What the positions are compared with.
        keys: The positions.
        attention_mask: `(batch, length)` bool, False where padded. Default: nothing is padded.

    Shapes:
        `(batch, q)` and `(batch, length, k)` in, q <= k; `(batch, k)` out, zeros where all is padded. Keys and mask of
        one row serve all queries.

    Raises:
        ValueError: If `units` is empty or has a width below 1, or an input has another shape.

    Reference:
        Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", 2018.
    """

    def __init__(
        self,
        units: Sequence[int] = (64,),
        activation: str | Callable[..., Any] = "relu",
        softmax: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if min(units, default=0) < 1:
            raise ValueError(f"units must be at least one width, each at least 1, got {list(units)}")
        self.units, self.softmax = list(units), softmax
        self.activation = keras.activations.get(activation)

    def build(self, query_shape: Shape, keys_shape: Shape) -> None:
        q, k = check_pair(self, query_shape, keys_shape)
        if q > k:
            raise ValueError(f"the query must not be wider than the keys, got {q} and {k}")
        first, *others = self.units
        he_normal = keras.initializers.HeNormal()
        self.kernel = self.add_weight(shape=(3 * q + k, first), initializer=he_normal, name="kernel")
        self.bias = self.add_weight(shape=(first,), initializer="zeros", name="bias")
        self.hidden, before = [], first
        for i, size in enumerate(others, 1):
            dense = keras.layers.Dense(size, kernel_initializer="he_normal", dtype=self.dtype_policy, name=f"dense_{i}")
            dense.build((None, before))
            self.hidden.append(dense)
            before = size
        # A softmax ignores what all scores share: the gradient of a bias would be rounding alone, which Adam follows.
        self.score = keras.layers.Dense(1, use_bias=not self.softmax, dtype=self.dtype_policy, name="score")
        self.score.build((None, before))
        self.built = True

    def call(self, query: tf.Tensor, keys: tf.Tensor, attention_mask: tf.Tensor | None = None) -> tf.Tensor:
        scores = self._scores_of_one_history(query, keys[0]) if keys.shape[0] == 1 else self._scores(query, keys)
        if self.softmax:
            scores = tf.cast(scores, self.variable_dtype)
            if attention_mask is not None:  # Weights of a history that is all padding are removed below.
                scores = tf.where(attention_mask, scores, scores.dtype.min)
            scores = tf.cast(tf.nn.softmax(scores), keys.dtype)
        if keys.shape[0] == 1:
            if attention_mask is not None:
                keys *= tf.cast(attention_mask, keys.dtype)[..., None]
            return tf.matmul(scores, keys[0])
        if attention_mask is not None:
            scores *= tf.cast(attention_mask, scores.dtype)
        return tf.squeeze(tf.matmul(scores[:, None], keys), axis=1)

    def _scores(self, query: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """s of every position, `(batch, length)`."""
        (q, k), units = (query.shape[1], keys.shape[2]), self.units[0]
        length = tf.shape(keys)[1] if keys.shape[1] is None else keys.shape[1]
        of_query, of_key, of_product = self._split_kernel(q)
        compared = keys if q == k else keys[..., :q]
        product = tf.reshape(query[:, None] * compared, [-1, q])
        x = tf.matmul(tf.reshape(keys, [-1, k]), of_key) + tf.matmul(product, of_product)
        x = tf.reshape(x, [-1, length, units]) + (tf.matmul(query, of_query) + self.bias)[:, None]
        return tf.reshape(self._behind_first_layer(tf.reshape(x, [-1, units])), [-1, length])

    def _behind_first_layer(self, x: tf.Tensor) -> tf.Tensor:
        """`(rows, units)` -> `(rows, 1)`"""
        x = self.activation(x)
        for dense in self.hidden:
            x = self.activation(dense(x))
        return self.score(x)

    def _split_kernel(self, q: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """W_1 + W_4, [W_2 - W_4; W_3] and W_5."""
        kernel = tf.convert_to_tensor(self.kernel)
        of_query, of_key, of_side, of_difference, of_product = tf.split(kernel, [q, q, kernel.shape[0] - 4 * q, q, q])
        return of_query + of_difference, tf.concat([of_key - of_difference, of_side], axis=0), of_product

    def _scores_of_one_history(self, query: tf.Tensor, history: tf.Tensor) -> tf.Tensor:
        """s of every query and position, `(batch, length)`.

        One product per position: (W_1 + W_4) q + W_5 (q * k) = (W_1 + W_4 + W_5 diag(k)) q. Then every pass over the
        outputs, `(length * batch, units)`, costs time. One hidden layer of SmeLU needs few:

            SmeLU(x) = beta (p^2 + 2 r - 1),    r = relu((x + beta) / (2 beta)),    p = 1 - min(r, 1)

        The products before and after it take its scales and shifts.
        """
        smelu = self.activation if isinstance(self.activation, SmeLU) and not self.hidden else None
        scale, shift = (0.5 / smelu.beta, 0.5) if smelu else (1.0, 0.0)
        of_query, of_key, of_product = self._split_kernel(query.shape[1])
        kernel = history[:, : query.shape[1], None] * of_product + of_query  # (length, q, units)
        bias = tf.matmul(history, of_key) * scale + (self.bias * scale + shift)
        kernel = tf.concat([kernel, bias[:, None]], axis=1)  # To add the biases would be one more pass.
        query = tf.concat([query * scale, tf.ones_like(query[:, :1])], axis=1)
        x = tf.reshape(tf.matmul(query[None], kernel), [-1, self.units[0]])
        scores = self._sums_of_smelu(x, smelu.beta) if smelu else self._behind_first_layer(x)
        return tf.transpose(tf.reshape(scores, [tf.shape(history)[0], -1]))

    def _sums_of_smelu(self, x: tf.Tensor, beta: float) -> tf.Tensor:
        r = tf.nn.relu(x)
        weights = tf.convert_to_tensor(self.score.kernel) * beta
        shift = -tf.reduce_sum(weights) + (self.score.bias if self.score.use_bias else 0.0)
        linear = tf.matmul(r, 2.0 * weights) + shift
        with tf.control_dependencies([linear]):  # r is free then, so the next passes reuse its memory.
            one = tf.ones([], r.dtype)
            squares = tf.math.squared_difference(tf.minimum(r, one), one)
        return tf.matmul(squares, weights) + linear

    def compute_output_shape(self, query_shape: Shape, keys_shape: Shape) -> Shape:
        return query_shape[0], keys_shape[2]

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "units": self.units, "activation": activation, "softmax": self.softmax}
