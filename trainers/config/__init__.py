"""The config of a run: keys with their types, defaults and rules. Imports no TensorFlow."""

from trainers.config.divergence import DivergenceConfig, RecoveryConfig
from trainers.config.optimizer import OptimizerConfig
from trainers.config.run import (
    Config,
    ExportConfig,
    GateConfig,
    ModelConfig,
    ShuffleConfig,
    TrainerConfig,
    dump,
    load,
    set_key,
    weight_keys,
)

__all__ = [
    "Config",
    "DivergenceConfig",
    "ExportConfig",
    "GateConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RecoveryConfig",
    "ShuffleConfig",
    "TrainerConfig",
    "dump",
    "load",
    "set_key",
    "weight_keys",
]
