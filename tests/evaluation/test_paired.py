import numpy as np
import pytest

from llmar_pipeline.evaluation.paired import paired_difference_of_shares


def test_two_clips():
    """d = (1, 0): resampled means are 0, 1/2 and 1 with chances 1/4, 1/2 and 1/4."""
    assert paired_difference_of_shares(np.array([1, 1]), np.array([0, 1])) == (0.5, 0, 1)


def test_four_clips():
    """d = (1, 0, 0, 0): 4 x mean is binomial (4, 1/4): P(0) = .32, P(<= 2) = .949, P(<= 3) = .996."""
    assert paired_difference_of_shares(np.ones(4), np.array([0, 1, 1, 1])) == (0.25, 0, 0.75)


def test_shares_of_seeds():
    """d = (-1/2, 1/2): means -1/2, 0, 1/2 with chances 1/4, 1/2, 1/4."""
    assert paired_difference_of_shares(np.array([0.5, 1]), np.array([1, 0.5])) == (0, -0.5, 0.5)


def test_many_clips_are_nearly_normal():
    """400 clips, d = +1 on 60, -1 on 20: mean 0.1, variance 80/400 - 0.01, standard error 0.0218."""
    d = np.repeat([1, -1, 0], [60, 20, 320])
    mean, low, high = paired_difference_of_shares(np.maximum(d, 0), np.maximum(-d, 0))
    half = 1.96 * np.sqrt(0.19 / 400)
    assert (mean, low, high) == pytest.approx((0.1, 0.1 - half, 0.1 + half), abs=0.003)


def test_what_is_equal_has_no_width():
    assert paired_difference_of_shares(np.array([1 / 3, 1]), np.array([1 / 3, 1])) == (0, 0, 0)


@pytest.mark.parametrize("clips", [(0, 0), (2, 3)])
def test_other_clips_are_refused(clips):
    with pytest.raises(ValueError, match="same clips"):
        paired_difference_of_shares(*map(np.ones, clips))
