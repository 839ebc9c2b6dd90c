"""Analysis of a trained model and its inputs: the sharpness of the loss, drift, the spectra of embedding tables."""

from tfstable.analysis.drift import deviation_ratio, population_stability_index, standardised_shift
from tfstable.analysis.sharpness import SharpnessProbe, largest_eigenvalue
from tfstable.analysis.spectrum import effective_rank, information_abundance, singular_values

__all__ = [
    "SharpnessProbe",
    "deviation_ratio",
    "effective_rank",
    "information_abundance",
    "largest_eigenvalue",
    "population_stability_index",
    "singular_values",
    "standardised_shift",
]
