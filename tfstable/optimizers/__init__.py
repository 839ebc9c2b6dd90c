"""Optimizers that sum duplicate rows, touch only the rows of the batch, and never apply half a step."""

from tfstable.optimizers.adagc import AdaGC
from tfstable.optimizers.adagn import AdaGN
from tfstable.optimizers.adagrad import Adagrad
from tfstable.optimizers.adam import Adam
from tfstable.optimizers.adaptive_gradient import AdaptiveGradient
from tfstable.optimizers.adax import AdaX
from tfstable.optimizers.averaging import Ema, Swa
from tfstable.optimizers.clippy import Clippy
from tfstable.optimizers.clippy_adagrad import ClippyAdagrad
from tfstable.optimizers.clippy_adam import ClippyAdam
from tfstable.optimizers.composite import Composite, Group
from tfstable.optimizers.gradient_norm import GradientNorm
from tfstable.optimizers.muon import Muon
from tfstable.optimizers.schedule import WarmupDecay
from tfstable.optimizers.sgd import SGD
from tfstable.optimizers.tables import is_embedding_table
from tfstable.optimizers.trust_ratio import TrustRatio
from tfstable.optimizers.zclip import ZClip

__all__ = [
    "SGD",
    "AdaGC",
    "AdaGN",
    "AdaX",
    "Adagrad",
    "Adam",
    "AdaptiveGradient",
    "Clippy",
    "ClippyAdagrad",
    "ClippyAdam",
    "Composite",
    "Ema",
    "GradientNorm",
    "Group",
    "Muon",
    "Swa",
    "TrustRatio",
    "WarmupDecay",
    "ZClip",
    "is_embedding_table",
]
