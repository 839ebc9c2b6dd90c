"""The multitask ranking model, a committee of such, and the mathematics of its tasks."""

from tfstable.models import penalties
from tfstable.models.committee import Committee
from tfstable.models.joint import JointRanking
from tfstable.models.ranking import RankingModel

__all__ = ["Committee", "JointRanking", "RankingModel", "penalties"]
