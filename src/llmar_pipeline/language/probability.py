"""From log-likelihoods of class names to probabilities."""

import numpy as np


def probabilities(log_likelihoods: np.ndarray) -> np.ndarray:
    """The softmax over the class list.

    Args:
        log_likelihoods: Of each class name, `[..., classes]`, nats; finite the largest of each row.

    Returns:
        Of the same shape, float64; each row sums to 1.

    Source: ours, for the "Testing" paragraph of Sec. 3.2 of the paper.
    """
    scores = np.asarray(log_likelihoods, dtype=np.float64)
    likelihood = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(likelihood / likelihood.sum(axis=-1, keepdims=True))
