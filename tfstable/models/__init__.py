"""The multitask ranking model and the mathematics of its tasks."""

from tfstable.models.ranking import RankingModel

__all__ = ["RankingModel"]
