"""Analysis of a model and its inputs: sharpness of the loss, gradients of tasks, drift, spectra of embedding tables."""

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift
from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue
from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values
from tfstable.analysis.task_gradients import TaskGradients

__all__ = [
    "SharpnessProbe",
    "TaskGradients",
    "deviation_ratio",
    "effective_rank",
    "information_abundance",
    "largest_eigenvalue",
    "population_stability_index",
    "singular_values",
    "standardised_shift",
]
