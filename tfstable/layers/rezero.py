"""ReZero: residual branches that start at zero."""

import keras


@keras.saving.register_keras_serializable(package="tfstable")
class ReZero(keras.layers.Layer):
    """Residual connection around a layer, gated by a trainable scalar that starts at zero.

        y = x + alpha * F(x),  alpha = 0 at the start

    Args:
        layer: The layer F; its output has the shape of its input.

    Shapes:
        `(batch, ..., width)` in, same shape out.

    Reference:
        Bachlechner et al., "ReZero is All You Need: Fast Convergence at Large Depth", 2020.
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        if not self.layer.built:
            self.layer.build(input_shape)
        self.alpha = self.add_weight(shape=(), initializer="zeros", name="alpha")
        self.built = True

    def call(self, x, training=None):
        return x + self.alpha * self.layer(x, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("layer")), **config)
