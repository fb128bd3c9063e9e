"""Zipf's law, which the usage of codes is to follow as the usage of words does."""

import numpy as np


def zipf_target(n_codes: int, alpha: float = 1.0, beta: float = 2.7) -> np.ndarray:
    """Zipf's law over the ranks 1 to U, 1 / (i + beta)^alpha, normalised to sum 1.

    Args:
        n_codes: Size of the codebook, U.
        alpha: Exponent.
        beta: Shift of the rank.

    Returns:
        Probability of every rank, descending, float64 `[U]`.

    Source: Eq. 2 of the paper.
    """
    weights = (np.arange(1, n_codes + 1) + beta) ** -float(alpha)
    weights /= weights.sum()
    return weights
