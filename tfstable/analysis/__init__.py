"""Analysis: sharpness and surface of the loss, gradients of tasks, drift of inputs, spectra of embedding tables."""

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift
from tfstable.analysis.loss_surface import filter_normalised_direction, local_minima, loss_surface
from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue
from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values
from tfstable.analysis.task_gradients import TaskGradients

__all__ = [
    "SharpnessProbe",
    "TaskGradients",
    "deviation_ratio",
    "effective_rank",
    "filter_normalised_direction",
    "information_abundance",
    "largest_eigenvalue",
    "local_minima",
    "loss_surface",
    "population_stability_index",
    "singular_values",
    "standardised_shift",
]
