"""Analysis of a trained model: the sharpness of its loss."""

from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue

__all__ = ["SharpnessProbe", "largest_eigenvalue"]
