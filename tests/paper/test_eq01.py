"""Eq. 1: each feature is replaced by its nearest code."""

from math import asinh, sinh

import pytest
import torch
from geoopt.manifolds.stereographic import PoincareBall

from llmar_pipeline.vqvae.codebook import Codebook


def codebook_of(tangent, **settings):
    codebook = Codebook(len(tangent), len(tangent[0]), **settings)
    codebook.tangent.data = torch.tensor(tangent)
    return codebook


def test_the_geometry_decides_which_code_is_nearest():
    # From f = (2, 0): A lies 1.1 nearer to the origin, B at the same norm with sin(t/2) = 1/4.
    # Euclidean: A at 1.1, B at 4 * 1/4 = 1.0. Hyperbolic: A at 2 * 1.1, B at 2 arsinh(sinh(4) / 4) = 5.24.
    codes = [[0.9, 0.0], [2 * 0.875, 2 * 0.234375**0.5], [-5.0, 0.0], [0.0, 9.0]]
    feature = torch.tensor([[2.0, 0.0]])
    euclidean = codebook_of(codes, geometry="euclidean")
    hyperbolic = codebook_of(codes)
    assert euclidean.nearest(feature).tolist() == [1]
    assert hyperbolic.nearest(feature).tolist() == [0]
    assert euclidean.distances(feature)[0, :2].tolist() == pytest.approx([1.1, 1.0], rel=1e-6)
    assert hyperbolic.distances(feature)[0, :2].tolist() == pytest.approx(
        [2.2, 2 * asinh(sinh(4) / 4)], rel=1e-6
    )


@pytest.mark.parametrize("curvature", [0.5, 1.0, 2.0])
def test_agrees_with_a_search_over_ball_coordinates(curvature):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 8, generator=generator) / 2
    codebook = Codebook(32, 8, curvature=curvature)
    codebook.tangent.data = torch.randn(32, 8, generator=generator) / 2
    oracle = PoincareBall(c=curvature)
    x, y = oracle.expmap0(features.double()), oracle.expmap0(codebook.tangent.detach().double())
    expected = oracle.dist(x[:, None], y[None]).argmin(dim=1)
    assert torch.equal(codebook.nearest(features), expected)


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_ties_go_to_the_lowest_index(geometry):
    codes = [[3.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    assert codebook_of(codes, geometry=geometry).nearest(torch.tensor([[0.0, 0.9]])).tolist() == [1]


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_a_code_is_its_own_nearest(geometry):
    torch.manual_seed(0)
    codebook = Codebook(64, 32, geometry=geometry)
    indices = codebook.nearest(codebook.tangent)
    assert torch.equal(indices, torch.arange(64))
    assert torch.equal(codebook.lookup(indices), codebook.tangent)
