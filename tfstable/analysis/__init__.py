"""Analysis of a model and its inputs: attribution, search without a gradient, sharpness and surface of the loss,
gradients of tasks, turning of scale-invariant weights, drift, spectra of embedding tables.
"""

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift
from tfstable.analysis.integrated_gradients import IntegratedGradients, completeness
from tfstable.analysis.intrinsic_rate import Rotations, ScaleInvariant, angular_step_at_equilibrium, scale_invariant
from tfstable.analysis.loss_surface import filter_normalised_direction, local_minima, loss_surface
from tfstable.analysis.permutation import permutation_importance
from tfstable.analysis.score_search import ascend, policy_gradient, zero_order_gradient
from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue
from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values
from tfstable.analysis.task_gradients import TaskGradients

__all__ = [
    "IntegratedGradients",
    "Rotations",
    "ScaleInvariant",
    "SharpnessProbe",
    "TaskGradients",
    "angular_step_at_equilibrium",
    "ascend",
    "completeness",
    "deviation_ratio",
    "effective_rank",
    "filter_normalised_direction",
    "information_abundance",
    "largest_eigenvalue",
    "local_minima",
    "loss_surface",
    "permutation_importance",
    "policy_gradient",
    "population_stability_index",
    "scale_invariant",
    "singular_values",
    "standardised_shift",
    "zero_order_gradient",
]
