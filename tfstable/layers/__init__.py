"""Keras layers: SmeLU, ReZero, embedding tables, cross tower."""

from tfstable.layers.cross import CrossTower
from tfstable.layers.embedding import EmbeddingFeature, Embeddings
from tfstable.layers.rezero import ReZero
from tfstable.layers.smelu import SmeLU, smelu

__all__ = ["CrossTower", "EmbeddingFeature", "Embeddings", "ReZero", "SmeLU", "smelu"]
