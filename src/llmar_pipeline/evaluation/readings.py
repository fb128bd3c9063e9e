"""Clips that are read several times: one answer from the scores of all readings."""

import numpy as np
import pandas as pd


def mean_by_clip(readings: pd.DataFrame, scores: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Average the scores of each clip's readings.

    Args:
        readings: Column name, a row a reading, each clip's first one first.
        scores: Log-likelihoods or log-probabilities of the classes, `[readings, classes]`.

    Returns:
        The first reading's row of each clip, and the mean scores, `[clips, classes]` float64: up to a factor,
        the logarithm of the geometric mean of the probabilities.

    Source: ours.
    """
    clip, names = pd.factorize(readings["name"])
    sums = np.zeros((len(names), scores.shape[1]))
    np.add.at(sums, clip, scores)
    return readings.drop_duplicates("name"), sums / np.bincount(clip, minlength=len(names))[:, None]
