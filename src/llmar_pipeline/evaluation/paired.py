"""Two experiments on the same clips: how far apart, and how sure that is."""

from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000


class Difference(NamedTuple):
    """A difference of accuracies, as fractions of 1, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_difference_of_shares(shares: np.ndarray, others: np.ndarray, seed: int = 0) -> Difference:
    """How much more often one experiment is right than another, each trained with several seeds.

    The interval is the percentile bootstrap over clips of d = shares - others. It says what another draw of
    clips would do; seeds are averaged first, so it does not say what other seeds would. A resample of N clips
    is a multinomial number of each value of d.

    Args:
        shares: of each clip, the share of the one's seeds that answer it rightly, `[N]`.
        others: of each clip, the share of the other's seeds that do, `[N]`.
        seed: of the bootstrap.

    Raises:
        ValueError: there is no clip, or not the same number of both.

    Source: ours; Efron and Tibshirani 1993 for the bootstrap.
    """
    if not len(shares) or len(shares) != len(others):
        raise ValueError(f"expected shares of the same clips, saw {len(shares)} and {len(others)}")
    differences = np.asarray(shares, np.float64) - np.asarray(others, np.float64)
    values, counts = np.unique(differences.round(12), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(differences), counts / len(differences), RESAMPLES)
    low, high = np.quantile(drawn @ values / len(differences), [0.025, 0.975])
    return Difference(float(differences.mean()), float(low), float(high))
