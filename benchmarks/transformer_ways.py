"""Transformers whose layers combine the same branches in different ways, at any depth in one graph."""

import keras
import numpy as np
import tensorflow as tf

from tfstable.layers import ReZeroDecoder, ReZeroEncoder
from tfstable.optimizers import Adam

WIDTH, HEADS, UNITS = 32, 2, 128


def normalised(x):
    x -= tf.reduce_mean(x, axis=-1, keepdims=True)
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + 1e-5)


def step_of(way):
    """The way as a function of x and a branch F, given as its ReZero `gated`."""
    return {
        "plain": lambda x, gated, **k: gated.layer(*_inputs(x, k), **k),
        "residual": lambda x, gated, **k: x + gated.layer(*_inputs(x, k), **k),
        "post-norm": lambda x, gated, **k: normalised(x + gated.layer(*_inputs(x, k), **k)),
        "pre-norm": lambda x, gated, **k: x + gated.layer(*_inputs(normalised(x), k), **k),
        "ReZero": lambda x, gated, **k: gated(x, **k),
        "ReZero from 1": lambda x, gated, **k: gated(x, **k),
    }[way]


def _inputs(x, keys):
    """What F takes: attention takes a query and what it attends to."""
    if "attention_mask" not in keys:
        return (x,)
    return x, keys.pop("context", x)


class Stack:
    """Layers of one kind. Their weights are stacked, and the graph has one layer in a loop, at any depth."""

    def __init__(self, depth, layer, shapes, way):
        self.depth, self.layer, self.way = depth, layer, way
        self._shapes = shapes
        layer.build(*shapes)
        self.variables = [keras.Variable(np.zeros((depth, *w.shape), np.float32)) for w in layer.trainable_weights]

    def draw(self):
        """New weights, as Keras draws them."""
        drawn = []
        for _ in range(self.depth):
            layer = type(self.layer).from_config({**self.layer.get_config(), "name": None})
            layer.build(*self._shapes)
            drawn.append([w.numpy() for w in layer.trainable_weights])
        for variable, values in zip(self.variables, zip(*drawn, strict=True), strict=True):
            is_gate = len(variable.shape) == 1 and self.way == "ReZero from 1"
            variable.assign(np.ones(self.depth) if is_gate else np.stack(values))

    def __call__(self, x, among, memory=None):
        step, layer = step_of(self.way), self.layer
        shape = x.shape
        arrays = [
            tf.TensorArray(tf.float32, size=self.depth, element_shape=v.shape[1:]).unstack(v.value)
            for v in self.variables
        ]

        def body(i, x):
            weights = zip(layer.trainable_weights, [array.read(i) for array in arrays], strict=True)
            with keras.StatelessScope(state_mapping=list(weights)):
                x = step(x, layer.attention, attention_mask=among)
                if memory is not None:
                    x = step(x, layer.memory_attention, context=memory, attention_mask=None)
                x = step(x, layer.feed_forward)
            return i + 1, tf.ensure_shape(x, shape)

        _, x = tf.while_loop(lambda i, x: i < self.depth, body, (0, x), maximum_iterations=self.depth)
        return normalised(x) if self.way == "pre-norm" else x


class Network:
    """A decoder alone, or beside an encoder; its weights, and its training step.

    Args:
        way: How branches are combined, and after a comma how it is trained.
        encoder_depth, decoder_depth: Layers. 0 encoder layers: a language model.
        vocabulary, length: Of all sequences.
    """

    def __init__(self, way, encoder_depth, decoder_depth, vocabulary, length):
        self.way, way = way, way.split(",")[0]
        decoder, shape = ReZeroDecoder(HEADS, UNITS), (None, length, WIDTH)
        self.stacks = [Stack(decoder_depth, decoder, (shape, shape) if encoder_depth else (shape,), way)]
        if encoder_depth:
            self.stacks.append(Stack(encoder_depth, ReZeroEncoder(HEADS, UNITS), (shape,), way))
        sizes = {"embedding": (vocabulary, WIDTH), "positions": (length, WIDTH), "output": (WIDTH, vocabulary)}
        self._own = {name: keras.Variable(np.zeros(size, np.float32)) for name, size in sizes.items()}
        self.variables = [*self._own.values(), *(v for stack in self.stacks for v in stack.variables)]
        self.step = tf.function(self._step, jit_compile=True, autograph=False)
        self.evaluate = tf.function(self.loss, jit_compile=True, autograph=False)

    def start(self, seed, rate):
        keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        for name, deviation in (("embedding", 1.0), ("positions", 0.1), ("output", WIDTH**-0.5)):
            self._own[name].assign(deviation * rng.normal(size=self._own[name].shape))
        for stack in self.stacks:
            stack.draw()
        if not hasattr(self, "optimizer"):
            self.optimizer = Adam(rate)
            self.optimizer.build(self.variables)
            self._zero = [v.numpy() for v in self.optimizer.variables]
        for variable, value in zip(self.optimizer.variables, self._zero, strict=True):
            variable.assign(value)
        self.optimizer.learning_rate = rate

    def loss(self, read, given, wanted):
        """Mean cross-entropy in bits of (batch, length) characters; `read` is for the encoder."""
        embedding, positions, output = (v.value for v in self._own.values())
        length = given.shape[1]
        decoder, *encoder = self.stacks
        memory = None
        if encoder:
            everything = tf.ones([1, read.shape[1], read.shape[1]], tf.bool)
            memory = encoder[0](tf.gather(embedding, read) + positions, everything)
        earlier = tf.linalg.band_part(tf.ones([1, length, length], tf.bool), -1, 0)
        x = decoder(tf.gather(embedding, given) + positions, earlier, memory)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, tf.einsum("blw,wv->blv", x, output))
        return tf.reduce_mean(each) / np.log(2)

    def _step(self, *batch):
        with tf.GradientTape() as tape:
            loss = self.loss(*batch)
        gradients = tape.gradient(loss, [v.value for v in self.variables])
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        return loss
