"""Analysis of a model and its inputs: sharpness of the loss, gradients of tasks, turning of scale-invariant weights,
drift, spectra of embedding tables."""

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift
from tfstable.analysis.intrinsic_rate import Rotations, ScaleInvariant, angular_step_at_equilibrium, scale_invariant
from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue
from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values
from tfstable.analysis.task_gradients import TaskGradients

__all__ = [
    "Rotations",
    "ScaleInvariant",
    "SharpnessProbe",
    "TaskGradients",
    "angular_step_at_equilibrium",
    "deviation_ratio",
    "effective_rank",
    "information_abundance",
    "largest_eigenvalue",
    "population_stability_index",
    "scale_invariant",
    "singular_values",
    "standardised_shift",
]
