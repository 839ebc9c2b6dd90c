"""A dense ReZero network of any depth, in a graph of one size."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfstable.layers.shapes import Shape, check_equal, check_one_input

# Layers unrolled in the body of the loop: large enough to make the loop's own cost small, small enough that a block's
# weights stay in the processor's cache between its forward pass and its gradient.
_BLOCK = 10


@keras.saving.register_keras_serializable(package="tfstable")
class ReZeroStack(keras.layers.Layer):
    """Dense layers of one width with ReZero residuals; 10,000 of them trace as fast as 10.

        x_{i+1} = x_i + alpha_i * f(x_i W_i + b_i),  alpha_i = 0 at the start,  i = 1 .. depth

    The weights of all layers are stacked into three variables, and a loop runs over blocks of ten layers. So the size
    of the graph and the time to trace it do not depend on `depth`. The gradient keeps the input of each block and
    recomputes the rest: four matrix products per layer instead of three, and activations in memory for a tenth of the
    layers.

    An optimizer sees the stacked weights as one variable. A clipping per tensor then takes its norm, or Clippy its
    minimum, over all layers, and one layer's steep gradient slows every layer. To give each part of the depth its own
    factor, stack stacks: `keras.Sequential([ReZeroStack(100) for _ in range(100)])` has one factor per hundred layers,
    and its graph grows with the number of stacks.

    Args:
        depth: Number of layers. At least 1.
        activation: The function f: a Keras activation by name, or a callable such as `SmeLU(0.5)`, without weights.

    Shapes:
        `(batch, width)` in, same shape out. Variables: kernel `(depth, width, width)`, He normal; bias
        `(depth, width)`, zero; alpha `(depth,)`, zero.

    Raises:
        ValueError: If `depth` is below 1, the input is not `(batch, width)`, or `activation` changes a shape.

    References:
        Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.
        Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016 (the recomputation).

    Examples:
        >>> from tfstable.layers import ReZeroStack
        >>> stack = ReZeroStack(depth=100)
        >>> stack(tf.constant([[1.0, 2.0]])).numpy().tolist()  # The identity at the start.
        [[1.0, 2.0]]
        >>> [tuple(weight.shape) for weight in stack.weights]
        [(100, 2, 2), (100, 2), (100,)]
    """

    def __init__(self, depth: int, activation: str | Callable[..., Any] = "relu", **kwargs: Any):
        # Variables are cast block by block in the loop: autocast would copy all of them in every step.
        super().__init__(autocast=False, **kwargs)
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.depth, self.activation = depth, keras.activations.get(activation)

    def build(self, input_shape: Shape) -> None:
        width = check_one_input(self, input_shape, rank=2)
        # keras.initializers.HeNormal would take the stacking axis for a part of the fan-in.
        he_normal = keras.initializers.RandomNormal(stddev=math.sqrt(2 / width))
        self.kernel = self.add_weight(shape=(self.depth, width, width), initializer=he_normal, name="kernel")
        self.bias = self.add_weight(shape=(self.depth, width), initializer="zeros", name="bias")
        self.alpha = self.add_weight(shape=(self.depth,), initializer="zeros", name="alpha")
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        check_equal(self, "the input", x.shape, (None, self.kernel.shape[-1]))
        weights = [tf.convert_to_tensor(v.value) for v in (self.kernel, self.bias, self.alpha)]
        return self._run(tf.cast(x, self.compute_dtype), *weights)

    def insert(self, position: int, layers: int) -> "ReZeroStack":
        """Returns a deeper stack that computes the same: new layers, with alpha = 0, before layer `position`.

        Args:
            position: In [0, depth]; `depth` appends.
            layers: Number of new layers. At least 1.

        Raises:
            ValueError: If `position` or `layers` is outside its domain, or this stack is not built.
        """
        if not (0 <= position <= self.depth and layers >= 1 and self.built):
            raise ValueError(
                f"insert needs a built stack, position in [0, {self.depth}] and layers >= 1, got {position=}, {layers=}"
            )
        deeper = ReZeroStack.from_config({**self.get_config(), "depth": self.depth + layers})
        deeper.build((None, self.kernel.shape[-1]))
        for old, new in zip(self.weights, deeper.weights, strict=True):
            fresh = new.value[position : position + layers]
            new.assign(tf.concat([old.value[:position], fresh, old.value[position:]], axis=0))
        return deeper

    def _block(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        """Runs the layers of one block: kernel (layers, width, width), bias (layers, width), alpha (layers,)."""
        kernel, bias, alpha = (tf.cast(v, x.dtype) for v in (kernel, bias, alpha))
        # unstack, not indexing: the gradient of each index is a block of zeros with one layer set.
        for W, b, a in zip(tf.unstack(kernel), tf.unstack(bias), tf.unstack(alpha), strict=True):
            y = self.activation(tf.matmul(x, W) + b)
            check_equal(self, "the output of activation", y.shape, x.shape)
            x += a * y
        return x

    def _block_gradient(self, x: tf.Tensor, weights: Sequence[tf.Tensor], upstream: tf.Tensor) -> list[tf.Tensor]:
        """Returns the gradients of a block's input and weights, computing the block again."""
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            y = self._block(x, *weights)
        return tape.gradient(y, [x, *weights], upstream)

    def _run(self, x: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
        size = min(_BLOCK, self.depth)
        blocks, rest = divmod(self.depth, size)  # The first `rest` layers run by themselves.

        def part(k: tf.Tensor) -> list[tf.Tensor]:
            return [tf.slice(w, [rest + k * size] + [0] * (w.shape.rank - 1), [size, *w.shape[1:]]) for w in weights]

        @tf.custom_gradient
        def run(x: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
            first = [w[:rest] for w in weights]
            start = self._block(x, *first) if rest else x

            def forward(k: tf.Tensor, x: tf.Tensor, inputs: tf.TensorArray) -> tuple[Any, ...]:
                return k + 1, self._block(x, *part(k)), inputs.write(k, x)

            inputs = tf.TensorArray(x.dtype, size=blocks, element_shape=x.shape)
            _, y, inputs = tf.while_loop(
                lambda k, *_: k < blocks, forward, (0, start, inputs), maximum_iterations=blocks
            )
            inputs = inputs.stack()  # (blocks, batch, width)

            def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
                def backward(k: tf.Tensor, dx: tf.Tensor, *sums: tf.TensorArray) -> tuple[Any, ...]:
                    dx, *dw = self._block_gradient(inputs[k], part(k), dx)
                    return k - 1, dx, *[total.write(k, d) for total, d in zip(sums, dw, strict=True)]

                arrays = [tf.TensorArray(w.dtype, size=blocks, element_shape=(size, *w.shape[1:])) for w in weights]
                _, dx, *arrays = tf.while_loop(
                    lambda k, *_: k >= 0, backward, (blocks - 1, upstream, *arrays), maximum_iterations=blocks
                )
                dw = [tf.reshape(a.stack(), (-1, *w.shape[1:])) for a, w in zip(arrays, weights, strict=True)]
                if rest:
                    dx, *head = self._block_gradient(x, first, dx)
                    dw = [tf.concat(pair, axis=0) for pair in zip(head, dw, strict=True)]
                return dx, *dw

            return y, gradient

        return run(x, *weights)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "depth": self.depth, "activation": activation}
