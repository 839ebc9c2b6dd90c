"""How many dimensions an embedding table uses. NumPy only."""

import numpy as np

ROWS = 65_536  # Rows of a table in float64 at a time.


def singular_values(table: np.ndarray) -> np.ndarray:
    """Returns a table's singular values, the largest first, from its Gram matrix.

    sigma_i = sqrt(lambda_i(E^T E)): a pass over the rows and an eigenvalue problem of dim x dim, so a table of millions
    of rows costs about as much as reading it. Values below 1e-8 of the largest are rounding.

    Args:
        table: `(rows, dim)` floats.

    Returns:
        `(dim,)` float64.
    """
    gram = np.zeros((table.shape[1],) * 2)
    for begin in range(0, len(table), ROWS):
        rows = table[begin : begin + ROWS].astype(np.float64)
        gram += rows.T @ rows
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))


def information_abundance(sigma: np.ndarray) -> float:
    """Returns sum(sigma) / max(sigma): from 1, where all rows lie on one line, to dim, where no direction is preferred.

    Args:
        sigma: `(dim,)` singular values.

    Returns:
        NaN if all are 0.

    Reference:
        Guo et al., "On the Embedding Collapse when Scaling up Recommendation Models", 2023.

    Examples:
        >>> import numpy as np
        >>> from tfstable.analysis.spectrum import information_abundance
        >>> information_abundance(np.array([4.0, 2.0, 2.0]))
        2.0
    """
    return float(sigma.sum() / sigma.max()) if sigma.max() > 0 else float("nan")


def effective_rank(sigma: np.ndarray) -> float:
    """Returns exp(-sum_i p_i ln p_i) with p = sigma / sum(sigma): 1 to dim, like information abundance, by entropy.

    Args:
        sigma: `(dim,)` singular values.

    Returns:
        NaN if all are 0.

    Reference:
        Roy, Vetterli, "The Effective Rank: A Measure of Effective Dimensionality", 2007.

    Examples:
        >>> import numpy as np
        >>> from tfstable.analysis.spectrum import effective_rank
        >>> round(effective_rank(np.array([1.0, 1.0, 0.0])), 6)
        2.0
    """
    if not sigma.max() > 0:
        return float("nan")
    p = sigma[sigma > 0] / sigma.sum()
    return float(np.exp(-(p * np.log(p)).sum()))
