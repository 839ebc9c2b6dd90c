"""The groups of `optimizer.groups` that the model's layers define."""

from tfstable.analysis import scale_invariant
from tfstable.analysis.intrinsic_rate import only
from tfstable.errors import InputError
from tfstable.models import RankingModel
from tfstable.optimizers import is_embedding_table
from trainers.config import OptimizerConfig
from trainers.config.optimizer import SCALE_INVARIANT


def named_groups(config: OptimizerConfig, model: RankingModel) -> dict[str, str]:
    """Returns regular expressions for the names of groups that depend on the model; empty without `scale_invariant`.

    Args:
        config: The config's optimizer section.
        model: The model, built.

    Raises:
        InputError: If there is a group `scale_invariant`, but no layer that a normalisation follows.
    """
    if SCALE_INVARIANT not in (config.groups or {}):
        return {}
    paths = [variable.path for tensor in scale_invariant(model) for variable in tensor.variables]
    if not paths:
        raise InputError(
            f"optimizer.groups.{SCALE_INVARIANT}: no dense layer is followed by a layer normalisation; set "
            "model.hidden_normalisation: true, or drop the group"
        )
    others = [v.path for v in model.trainable_variables if not is_embedding_table(v) and v.path not in paths]
    return {SCALE_INVARIANT: only(paths), "dense": only(others)}
