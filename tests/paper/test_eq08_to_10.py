"""Eq. 8-10: exponential map, distance and logarithmic map, by hand.

tanh(ln(3) / 2) = (3 - 1) / (3 + 1) = 1/2 makes the numbers rational.
"""

from math import log, sqrt

import pytest
import torch

from llmar_pipeline.vqvae import ball

HALF_LOG_3 = log(3) / 2


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def test_eq8_exponential_map():
    assert ball.expmap0(vector(HALF_LOG_3, 0)).tolist() == pytest.approx([0.5, 0])
    # c = 4: tanh(2 * ln(3)/4) / 2 = 1/4, along (3/5, -4/5).
    u = log(3) / 4 * vector(0.6, -0.8)
    assert ball.expmap0(u, c=4.0).tolist() == pytest.approx([0.15, -0.2])


def test_eq9_distance():
    origin, x, y = vector(0, 0), vector(0.5, 0), vector(0, 0.5)
    assert ball.distance(origin, x).item() == pytest.approx(log(3))  # arccosh(1 + 2 * 0.25 / 0.75)
    assert ball.distance(-x, x).item() == pytest.approx(2 * log(3))  # along a diameter
    right_angle = log((25 + sqrt(544)) / 9)  # arccosh(1 + 2 * 0.5 / 0.75^2) = arccosh(25/9)
    assert ball.distance(x, y).item() == pytest.approx(right_angle)
    # A ball of half the radius (c = 4) is the same picture with distances halved.
    assert ball.distance(x / 2, y / 2, c=4.0).item() == pytest.approx(right_angle / 2)


def test_eq10_logarithmic_map():
    assert ball.logmap0(vector(0, -0.5)).tolist() == pytest.approx([0, -HALF_LOG_3])
    assert ball.logmap0(vector(0.15, -0.2), c=4.0).tolist() == pytest.approx(
        [0.6 * log(3) / 4, -0.8 * log(3) / 4]
    )


def test_eq8_and_9_together_without_ball_coordinates():
    u, v = vector(HALF_LOG_3, 0), vector(0, HALF_LOG_3)
    expected = [log(3), log((25 + sqrt(544)) / 9), 2 * log(3)]
    rows = torch.stack([0 * u, v, -u])
    assert ball.tangent_distance(u, rows).tolist() == pytest.approx(expected)
    assert ball.tangent_distance_matrix(u[None], rows)[0].tolist() == pytest.approx(expected)
    halves = [distance / 2 for distance in expected]
    assert ball.tangent_distance(u / 2, rows / 2, c=4.0).tolist() == pytest.approx(halves)
