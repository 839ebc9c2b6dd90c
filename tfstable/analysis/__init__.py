"""Analysis of a model and its inputs: attribution, search without a gradient, sharpness of the loss, gradients of
tasks, drift, spectra of embedding tables.
"""

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift
from tfstable.analysis.integrated_gradients import IntegratedGradients, completeness
from tfstable.analysis.permutation import permutation_importance
from tfstable.analysis.score_search import ascend, policy_gradient, zero_order_gradient
from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue
from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values
from tfstable.analysis.task_gradients import TaskGradients

__all__ = [
    "IntegratedGradients",
    "SharpnessProbe",
    "TaskGradients",
    "ascend",
    "completeness",
    "deviation_ratio",
    "effective_rank",
    "information_abundance",
    "largest_eigenvalue",
    "permutation_importance",
    "policy_gradient",
    "population_stability_index",
    "singular_values",
    "standardised_shift",
    "zero_order_gradient",
]
