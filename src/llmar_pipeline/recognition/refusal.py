"""When a recording is none of the classes, and how sure it is that it is one that was enrolled."""

from dataclasses import dataclass

import numpy as np

KEPT = 0.95
"""Share of recordings of known classes that are to be kept."""
TEMPERATURE = 3.4
"""Of distances to prototypes, where no clip was held out to fit one: as folds had it (docs/lab_log.md)."""
_ROUNDING = 1e-6  # of a number that is kept in float32
_TEMPERATURES = np.geomspace(0.1, 1000, 401)


@dataclass(frozen=True)
class Refusal:
    """What clips of known classes said that the training was not shown.

    Attributes:
        distances: Of each the squared distance to the nearest class, `[N]`; none where none was held out.
        temperature: By which distances become probabilities.
        kept: Share of such clips that is to be kept.
    """

    distances: np.ndarray
    temperature: float = TEMPERATURE
    kept: float = KEPT

    @property
    def threshold(self) -> float:
        """The distance above which a recording is none of the classes; infinite where no clip was held out.

        At least the share `kept` of the clips is not above it, however their distances are rounded.
        """
        if not len(self.distances):
            return float("inf")
        return float(np.quantile(self.distances, self.kept, method="inverted_cdf")) * (1 + _ROUNDING)


def fit_refusal(distances: np.ndarray, labels: np.ndarray) -> Refusal:
    """What held-out clips of known classes say.

    Args:
        distances: Of clips to the classes, as `Prototypes.distances` gives them, `[N, C]`.
        labels: Their classes, `[N]`.

    Returns:
        With the temperature of the highest likelihood.

    Source: temperature scaling (Guo et al. 2017), of distances in place of logits.
    """
    if not len(distances):
        return Refusal(np.zeros(0))
    losses = [
        -log_shares(distances, temperature)[np.arange(len(labels)), labels].mean()
        for temperature in _TEMPERATURES
    ]
    return Refusal(distances.min(axis=1), float(_TEMPERATURES[int(np.argmin(losses))]))


def log_shares(distances: np.ndarray, temperature: float) -> np.ndarray:
    """Squared distances as log-probabilities of the classes.

    Args:
        distances: `[N, C]`.
        temperature: What they are divided by, twice.

    Returns:
        `[N, C]`.

    Source: classes as Gaussians of equal shape and share.
    """
    logits = -distances / (2 * temperature)
    logits = logits - logits.max(axis=1, keepdims=True)
    made: np.ndarray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return made
