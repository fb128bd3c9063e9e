"""What the features of each class's clips are like: where they lie, and how far a clip is from there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

LEAST_SHRUNK = 0.1
"""Share of the identity in the covariance within classes: what is estimated on folds (docs/lab_log.md)."""


@dataclass(frozen=True)
class Prototypes:
    """Means of classes in a space in which training clips of a class lie alike in all directions.

    Attributes:
        whitening: Leads from features there, `[du, du]`: 1 is the mean squared distance of a training clip
            from the mean of its class.
        means: Of the classes, there, `[C, du]`.
        counts: Clips behind each mean, `[C]`.
    """

    whitening: np.ndarray
    means: np.ndarray
    counts: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """How far clips are from the classes.

        A mean of k clips is itself off by a k-th of the variance, so squared distances are divided by
        1 + 1/k: a class of one example is then as near as one of many.

        Args:
            features: Means over steps and parts, `[N, du]`.

        Returns:
            Squared distances, `[N, C]`.

        Source: ours, after prototypical networks (Snell et al. 2017) and the Mahalanobis distance of Lee et
            al. 2018; the divisor is that of the predictive distribution of a Gaussian of unknown mean.
        """
        points = features @ self.whitening
        products = points @ self.means.T
        squares = (points**2).sum(axis=1, keepdims=True) + (self.means**2).sum(axis=1) - 2 * products
        made: np.ndarray = np.maximum(squares, 0) / (1 + 1 / self.counts)
        return made

    def added(self, examples: Sequence[np.ndarray]) -> "Prototypes":
        """These and further classes.

        Args:
            examples: Of each class its features, `[k, du]`.
        """
        if not examples:
            return self
        means = np.stack([each.mean(axis=0) for each in examples]) @ self.whitening
        counts = np.array([len(each) for each in examples], float)
        return replace(
            self,
            means=np.concatenate([self.means, means]),
            counts=np.concatenate([self.counts, counts]),
        )


def fit_prototypes(features: np.ndarray, labels: np.ndarray) -> Prototypes:
    """Learn where training clips lie, and how they scatter.

    Args:
        features: Of the clips, `[N, du]`.
        labels: Their classes, `[N]`, from 0 on without a gap.

    Source: the covariance within classes is shrunk towards a multiple of the identity as Ledoit and Wolf 2004
        estimate it, and by `LEAST_SHRUNK` at least; of a few clips the estimate says nothing.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # recognising needs none of it

    features = features.astype(np.float64)
    counts = np.bincount(labels).astype(float)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(len(counts))])
    scatter, freedom = features - means[labels], len(features) - len(counts)
    if not freedom or not scatter.any():  # one clip a class: all that is known is how classes scatter
        scatter, freedom = features - features.mean(axis=0), max(len(features) - 1, 1)
    covariance = scatter.T @ scatter / freedom
    variance = np.trace(covariance) / len(covariance)
    if not variance:  # one clip, or all the same
        covariance, variance = np.eye(len(covariance)), 1.0
    estimate = ledoit_wolf_shrinkage(scatter, assume_centered=True) if len(scatter) > 1 else 1.0
    shrunk = max(float(estimate), LEAST_SHRUNK)
    covariance = (1 - shrunk) * covariance + shrunk * variance * np.eye(len(covariance))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    size = ((scatter @ whitening) ** 2).sum() / freedom
    whitening /= np.sqrt(size or 1.0)
    return Prototypes(whitening, means @ whitening, counts)
