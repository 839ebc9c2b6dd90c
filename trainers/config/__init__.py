"""The config of a run: keys with their types, defaults and rules. Imports no TensorFlow."""

from trainers.config.changes import Change, When, changes, window_keys, with_window_keys
from trainers.config.divergence import DivergenceConfig, RecoveryConfig
from trainers.config.evaluation import EvaluationConfig, OwnMetric, RankingConfig
from trainers.config.init import InitConfig
from trainers.config.lists import check_replicas
from trainers.config.loading import dump, load, set_key
from trainers.config.model import ModelConfig
from trainers.config.optimizer import ClippingConfig, DenseConfig, EmaConfig, OptimizerConfig, RuleConfig, SwaConfig
from trainers.config.run import Config, weight_keys
from trainers.config.sections import (
    DataConfig,
    ExportConfig,
    GateConfig,
    ShuffleConfig,
    SimulateConfig,
    TrainerConfig,
)

__all__ = [
    "Change",
    "ClippingConfig",
    "Config",
    "DataConfig",
    "DenseConfig",
    "DivergenceConfig",
    "EmaConfig",
    "EvaluationConfig",
    "ExportConfig",
    "GateConfig",
    "InitConfig",
    "ModelConfig",
    "OptimizerConfig",
    "OwnMetric",
    "RankingConfig",
    "RecoveryConfig",
    "RuleConfig",
    "ShuffleConfig",
    "SimulateConfig",
    "SwaConfig",
    "TrainerConfig",
    "When",
    "changes",
    "check_replicas",
    "dump",
    "load",
    "set_key",
    "weight_keys",
    "window_keys",
    "with_window_keys",
]
