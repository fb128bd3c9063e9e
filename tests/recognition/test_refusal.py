"""Thresholds and temperatures from held-out clips."""

import numpy as np
import pytest

from llmar_pipeline.recognition.refusal import TEMPERATURE, Refusal, fit_refusal, log_shares


@pytest.mark.parametrize(("kept", "threshold"), [(0.95, 19.0), (0.94, 19.0), (1.0, 20.0), (0.5, 10.0)])
def test_at_least_the_share_is_kept_and_no_clip_more_than_it_takes(kept, threshold):
    distances = np.arange(1.0, 21.0)
    refusal = Refusal(distances[::-1], kept=kept)
    assert refusal.threshold == pytest.approx(threshold, rel=1e-5)
    assert (distances <= refusal.threshold).mean() >= kept


def test_without_held_out_clips_nothing_is_refused():
    refusal = fit_refusal(np.zeros((0, 3)), np.zeros(0, int))
    assert (refusal.threshold, refusal.temperature) == (float("inf"), TEMPERATURE)


def test_shares_by_hand():
    """At temperature 2, distances 0 and 4 ln 3 are shares 3 : 1."""
    np.testing.assert_allclose(np.exp(log_shares(np.array([[0.0, 4 * np.log(3)]]), 2.0)), [[0.75, 0.25]])


def test_the_temperature_makes_shares_those_that_are_seen():
    """Three clips of four are of the class that is nearer by d: likeliest where exp(d / 2T) is 3."""
    distances = np.tile([0.0, 8.0], (4, 1))
    refusal = fit_refusal(distances, np.array([0, 0, 0, 1]))
    assert refusal.temperature == pytest.approx(8 / (2 * np.log(3)), rel=0.02)
    np.testing.assert_allclose(refusal.distances, 0)
