"""Keras layers: smooth activations, ReZero and its deep stacks, feature crosses, histories, embedding tables; and
initial kernels."""

from tfstable.layers.clip_activation import ClipActivation
from tfstable.layers.cross import CrossTower
from tfstable.layers.cross_mixture import CrossMixture
from tfstable.layers.embedding import EmbeddingFeature, Embeddings
from tfstable.layers.feature_normalisation import FeatureNormalization
from tfstable.layers.generalised_smelu import GeneralisedSmeLU
from tfstable.layers.history_decoder import HistoryDecoder
from tfstable.layers.history_encoder import HistoryEncoder
from tfstable.layers.initialisation import MeanSquareOrthogonal, activation_gain
from tfstable.layers.insert import carry_over, insert
from tfstable.layers.masked_mean import MaskedMean
from tfstable.layers.normalised_attention import NormalisedAttention
from tfstable.layers.rezero import ReZero
from tfstable.layers.rezero_decoder import ReZeroDecoder
from tfstable.layers.rezero_stack import ReZeroStack
from tfstable.layers.smelu import SmeLU, smelu
from tfstable.layers.target_attention import TargetAttention
from tfstable.layers.transformer import ReZeroEncoder
from tfstable.layers.vector_input import VectorInput

__all__ = [
    "ClipActivation",
    "CrossMixture",
    "CrossTower",
    "EmbeddingFeature",
    "Embeddings",
    "FeatureNormalization",
    "GeneralisedSmeLU",
    "HistoryDecoder",
    "HistoryEncoder",
    "MaskedMean",
    "MeanSquareOrthogonal",
    "NormalisedAttention",
    "ReZero",
    "ReZeroDecoder",
    "ReZeroEncoder",
    "ReZeroStack",
    "SmeLU",
    "TargetAttention",
    "VectorInput",
    "activation_gain",
    "carry_over",
    "insert",
    "smelu",
]
