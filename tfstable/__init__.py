"""Keras building blocks for ranking models that train stably: layers, optimizers, models, metrics, data."""

__version__ = "0.1.0"
