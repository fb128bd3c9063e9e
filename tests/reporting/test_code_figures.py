import numpy as np
import pytest
import torch

from llmar_pipeline.reporting.code_figures import (
    centred,
    code_map_figure,
    principal_plane,
    to_disc,
    usage_figure,
)
from llmar_pipeline.vqvae import ball


def test_usage_figure_ranks_the_used_codes():
    figure = usage_figure(np.array([1, 0, 3]))
    assert list(figure.data[0].x) == [1, 2]
    assert list(figure.data[0].y) == [75, 25]
    assert sum(figure.data[1].y) == pytest.approx(100)
    # Shares 3/4 and 1/4: exp(entropy) = 4 / 3^0.75 = 1.75.
    assert "2 of 3 codes used, perplexity 1.8" in figure.layout.title.text


def test_usage_figure_ranks_each_codebook_by_itself():
    figure = usage_figure(np.array([1, 3, 5, 5]), books=2)
    assert [trace.name for trace in figure.data] == ["codebook 1", "codebook 2", "Zipf's law"]
    assert [list(trace.y) for trace in figure.data[:2]] == [[75, 25], [50, 50]]
    # Perplexities 1.755 and 2.
    assert "4 of 4 codes used, perplexity 1.9" in figure.layout.title.text


def test_to_disc_is_the_exponential_map():
    # tanh(0.5) = 0.462117; with c = 4 the point lies at sqrt(c) |x| = tanh(2 * 0.5) = 0.761594.
    vectors = np.array([[0.3, 0.4], [0.0, 0.0], [-40.0, 0.0]])
    np.testing.assert_allclose(to_disc(vectors, 1.0)[0], 0.462117 * np.array([0.6, 0.8]), rtol=1e-6)
    np.testing.assert_allclose(to_disc(vectors, 4.0)[0], 0.761594 * np.array([0.6, 0.8]), rtol=1e-6)
    assert to_disc(vectors, 1.0)[1].tolist() == [0, 0]
    assert -1 < to_disc(vectors, 1.0)[2, 0] < -0.999999


def test_moving_along_a_line_through_the_origin_adds_lengths():
    # Points of one geodesic: the distance of exp0(u) from the origin is 2 |u|, whatever the curvature.
    line = np.array([[1.5, 0.0, 0.0], [0.5, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    for curvature in (0.3, 1.0, 4.0):
        moved = centred(line, np.array([0.5, 0.0, 0.0]), curvature)
        np.testing.assert_allclose(moved, [[1, 0, 0], [0, 0, 0], [-1.5, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(centred(line, line[0], 0.0)[:, 0], [0, -1, -2.5])


@pytest.mark.parametrize("curvature", [0.5, 1.0, 3.0])
def test_moving_keeps_every_distance(curvature):
    rng = np.random.default_rng(0)
    points, centre = rng.normal(size=(12, 7)), rng.normal(size=7)
    moved = centred(points, centre, curvature)

    def distances(vectors: np.ndarray) -> np.ndarray:
        tangent = torch.from_numpy(vectors)
        return ball.tangent_distance(tangent[:, None], tangent[None], curvature).numpy()

    np.testing.assert_allclose(distances(moved), distances(points), rtol=1e-6, atol=1e-7)
    to_centre = distances(np.vstack([points, centre]))[-1, :-1]
    np.testing.assert_allclose(2 * np.linalg.norm(moved, axis=1), to_centre, rtol=1e-6)


def test_points_near_the_boundary_stay_finite():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(20, 5120))  # norm 71
    moved = centred(points, points.mean(axis=0), 1.0)
    assert np.isfinite(moved).all()
    assert np.isfinite(code_map_figure(points, np.arange(20)).data[1].x.astype(float)).all()


def test_principal_plane_by_hand():
    # Along x 2 * 9 = 18, along y 2 * 4 = 8, along z 2 * 1 = 2 of 28 altogether.
    vectors = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]])
    directions, share = principal_plane(vectors, np.ones(6))
    assert share == pytest.approx(26 / 28)
    np.testing.assert_allclose(np.abs(directions), [[1, 0], [0, 1], [0, 0]], atol=1e-12)
    # With x weighted away, y and z are left.
    directions, share = principal_plane(vectors, np.array([0, 0, 1, 1, 1, 1]))
    assert share == pytest.approx(1)
    np.testing.assert_allclose(np.abs(directions), [[0, 0], [1, 0], [0, 1]], atol=1e-12)
    farthest = (vectors @ directions)[np.abs(vectors @ directions).argmax(axis=0), [0, 1]]
    assert (farthest > 0).all()


def test_code_map_shows_usage_as_area_and_unused_codes_apart():
    tangent = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0.5, 0], [0, -0.5, 0], [0, 0, 0.1]])
    figure = code_map_figure(tangent, np.array([4, 4, 1, 1, 0]))
    unused, used = figure.data
    assert (unused.name, used.name) == ("not used (1)", "used (4)")
    assert list(used.marker.size) == [4, 4, 1, 1]
    assert used.marker.sizemode == "area"
    assert used.customdata[0].tolist() == [0, 4, 40]  # code, times, per cent
    assert unused.customdata[0].tolist() == [4, 0, 0]
    # The mean token is the origin; the 95th percentile of 1, 1, 0.5, 0.5 is 1, so the factor is artanh(0.9).
    assert "times 1.47" in figure.layout.title.text
    assert "holds 100 %" in figure.layout.title.text
    np.testing.assert_allclose(np.sort(np.abs(used.x))[2:], 0.9)
    np.testing.assert_allclose(np.sort(np.abs(used.y))[2:], np.tanh(0.5 * np.arctanh(0.9)))
    assert figure.layout.shapes[0].type == "circle"


def test_code_map_in_the_plane_keeps_euclidean_distances():
    tangent = np.array([[3.0, 1, 0], [5, 1, 0], [3, 2, 0], [7, 7, 0]])
    figure = code_map_figure(tangent, np.array([2, 1, 1, 3]), geometry="euclidean")
    used = figure.data[1]
    points = np.column_stack([used.x, used.y])
    for first, second in [(0, 1), (1, 3), (2, 3)]:
        distance = np.linalg.norm(tangent[first] - tangent[second])
        assert np.linalg.norm(points[first] - points[second]) == pytest.approx(distance)
    assert not figure.layout.shapes


def test_code_map_has_a_colour_for_each_codebook():
    tangent = np.random.default_rng(0).normal(size=(18, 4))
    figure = code_map_figure(tangent, np.arange(1, 19), books=9)
    books = figure.data[1:]
    assert [trace.name for trace in books] == [f"codebook {k} (2)" for k in range(1, 10)]
    assert len({(trace.marker.color, trace.marker.symbol) for trace in books}) == 9
    assert books[1].customdata[:, 0].tolist() == [2, 3]


def test_code_map_of_an_idle_or_collapsed_codebook():
    assert code_map_figure(np.zeros((4, 3)), np.zeros(4, dtype=int)).data[0].name == "not used (4)"
    assert code_map_figure(np.ones((4, 3)), np.array([3, 0, 0, 0])).data[1].name == "used (1)"
