"""Prototypes of classes: where they lie, and distances on one scale however many examples a class has."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from llmar_pipeline.recognition.prototypes import LEAST_SHRUNK, Prototypes, fit_prototypes


def test_distances_by_hand():
    """(3, 4) is 25 from (0, 0) of one clip, and 9 from (3, 1) of three: 25 / 2 and 9 / (4 / 3)."""
    known = Prototypes(np.eye(2), np.array([[0.0, 0.0], [3.0, 1.0]]), np.array([1.0, 3.0]))
    np.testing.assert_allclose(known.distances(np.array([[3.0, 4.0]])), [[12.5, 6.75]])


def test_an_added_class_lies_at_the_mean_of_its_examples_in_the_same_space():
    known = Prototypes(np.diag([2.0, 1.0]), np.array([[0.0, 0.0]]), np.array([9.0]))
    more = known.added([np.array([[1.0, 0.0], [3.0, 2.0]])])
    np.testing.assert_allclose(more.means, [[0, 0], [4, 1]])
    np.testing.assert_allclose(more.counts, [9, 2])
    assert known.added([]) is known


def test_the_space_is_that_of_the_shrunk_covariance_within_classes():
    """Few clips in many directions: Ledoit and Wolf's estimate is above the least."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 5)
    features = rng.normal(0, 1.0, (15, 8)) + 10 * labels[:, None]
    known = fit_prototypes(features, labels)
    means = np.stack([features[labels == label].mean(0) for label in range(3)])
    within = LedoitWolf(assume_centered=True).fit(features - means[labels])
    assert within.shrinkage_ > LEAST_SHRUNK
    gaps = features[0] - means
    expected = np.einsum("cd,de,ce->c", gaps, within.precision_, gaps) / (1 + 1 / 5)
    found = known.distances(features[:1])[0]
    np.testing.assert_allclose(found / found[0], expected / expected[0])
    own = known.distances(features)[np.arange(15), labels] * (1 + 1 / 5)
    assert own.sum() / 12 == pytest.approx(1)


@pytest.mark.parametrize("clips", [2, 500])
def test_the_covariance_is_shrunk_by_a_tenth_at_least(clips):
    """Clips at 0 and 2 along one axis of four: the variance is 4 V along it and V in the mean. Shrunk, it is
    0.9 * 4 V + 0.1 V along it and 0.1 V along the others: 37 to 1.
    """
    features = np.zeros((clips, 4))
    features[::2, 0] = 2
    known = fit_prototypes(features, np.zeros(clips, int))
    along, across = known.distances(features.mean(0) + np.eye(4)[:2])[:, 0]
    assert across / along == pytest.approx(37)


@pytest.mark.parametrize("features", [np.eye(3), np.ones((3, 3)), np.ones((1, 3))])
def test_one_clip_a_class_is_enough_for_distances(features):
    known = fit_prototypes(features, np.arange(len(features)))
    distances = known.distances(features)
    assert np.isfinite(distances).all()
    np.testing.assert_allclose(np.diag(distances), 0, atol=1e-9)
