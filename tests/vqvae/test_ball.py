"""The ball's functions against geoopt in float64, and beyond its reach against Eq. 8-9 in 220 digits."""

import math

import mpmath
import pytest
import torch
from geoopt.manifolds.stereographic import PoincareBall
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from llmar_pipeline.vqvae import ball

SEEDS = st.integers(0, 2**31)
DIMENSIONS = st.sampled_from([2, 3, 17, 576, 5120])
CURVATURES = st.sampled_from([0.1, 0.5, 1.0, 3.0])
few = settings(max_examples=25, deadline=None)


def pair(seed, dimension, u_norm, v_norm, angle):
    """Two float64 vectors of given norms and angle, in a random plane."""
    plane = torch.randn(dimension, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    first, second = torch.linalg.qr(plane).Q.T
    return u_norm * first, v_norm * (math.cos(angle) * first + math.sin(angle) * second)


def ball_of(c):
    return PoincareBall(c=torch.tensor(c, dtype=torch.float64))


def equations(u_norm, v_norm, angle, c):
    """Eq. 8 and Eq. 9 as printed (with the general c), in the plane of the two vectors."""
    root = mpmath.sqrt(mpmath.mpf(c))
    x, y = (mpmath.tanh(root * mpmath.mpf(r)) / root for r in (u_norm, v_norm))
    gap = (x - y * mpmath.cos(angle)) ** 2 + (y * mpmath.sin(angle)) ** 2
    return mpmath.acosh(1 + 2 * c * gap / ((1 - c * x**2) * (1 - c * y**2))) / root


def exact(u_norm, v_norm, angle, c):
    """The distance in 220 digits."""
    with mpmath.workdps(220):
        return float(equations(u_norm, v_norm, angle, c))


def exact_gradient(u_norm, v_norm, angle, c):
    """Its derivatives where u moves along itself, and at a right angle to itself towards v."""
    with mpmath.workdps(220):
        outwards = mpmath.diff(lambda r: equations(r, v_norm, angle, c), u_norm)
        turning = mpmath.diff(lambda t: equations(u_norm, v_norm, t, c), angle)
        return float(outwards), float(-turning / u_norm)


def matrix_error(angle):
    """What the matrix form may lose in float32, relative to the distance: three times what is documented."""
    return 3e-7 * (1 + 4 / angle**2)


def both(u, v, c):
    """The paired and the matrix form for one pair."""
    matrix = ball.tangent_distance_matrix(u[None], v[None], c)
    return ball.tangent_distance(u, v, c).item(), matrix.item()


@few
@given(SEEDS, DIMENSIONS, CURVATURES, st.floats(1e-3, 3), st.floats(1e-3, 3), st.floats(0.01, math.pi))
def test_agrees_with_geoopt_in_float64_up_to_norm_3(seed, dimension, c, r, s, angle):
    u, v = pair(seed, dimension, r / math.sqrt(c), s / math.sqrt(c), angle)
    oracle = ball_of(c)
    x, y = oracle.expmap0(u), oracle.expmap0(v)
    expected = oracle.dist(x, y).item()

    torch.testing.assert_close(ball.expmap0(u, c), x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ball.logmap0(x, c), oracle.logmap0(x), rtol=1e-9, atol=1e-12)
    assert ball.distance(x, y, c).item() == pytest.approx(expected, rel=1e-8)
    paired, matrix = both(u, v, c)
    assert paired == pytest.approx(expected, rel=1e-8)
    assert matrix == pytest.approx(expected, rel=1e-8)


@few
@given(SEEDS, DIMENSIONS, CURVATURES, st.floats(1e-6, 75), st.floats(1e-6, 75), st.floats(0.02, math.pi))
def test_float32_agrees_with_the_equations_at_any_norm(seed, dimension, c, r, s, angle):
    u, v = (x.float() for x in pair(seed, dimension, r, s, angle))
    expected = exact(r, s, angle, c)
    paired, matrix = both(u, v, c)
    assert paired == pytest.approx(expected, rel=1e-6 + 3e-7 / angle)
    assert matrix == pytest.approx(expected, rel=matrix_error(angle))


@few
@given(SEEDS, DIMENSIONS, CURVATURES, st.floats(0.1, 30), st.floats(0.1, 30), st.floats(0.3, 2.8))
@pytest.mark.parametrize("form", [ball.tangent_distance, ball.tangent_distance_matrix])
def test_gradients_agree_with_the_equations_at_any_norm(form, seed, dimension, c, r, s, angle):
    u, v = pair(seed, dimension, r, s, angle)
    along, across = u / r, (v / s - math.cos(angle) * u / r) / math.sin(angle)
    expected = exact_gradient(r, s, angle, c)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        moving = u.to(dtype).requires_grad_()
        gradient = torch.autograd.grad(form(moving[None], v[None].to(dtype), c).sum(), moving)[0].double()
        seen = (gradient @ along).item(), (gradient @ across).item()
        assert seen == pytest.approx(expected, rel=tolerance, abs=tolerance)
        rest = gradient - seen[0] * along - seen[1] * across
        assert rest.norm().item() < tolerance


@pytest.mark.parametrize("norm", [1e-6, 1e-3, 0.1, 1.0, 3.0, 10.0, 30.0, 70.0])
@pytest.mark.parametrize("dimension", [17, 576, 5120])
def test_matrix_form_keeps_float32_precision_for_generic_pairs(norm, dimension):
    generator = torch.Generator().manual_seed(dimension)
    directions = torch.nn.functional.normalize(torch.randn(96, dimension, generator=generator), dim=1)
    u, v = (directions * norm * (0.5 + torch.rand(96, 1, generator=generator))).split([64, 32])
    expected = ball.tangent_distance(u.double()[:, None], v.double())
    error = (ball.tangent_distance_matrix(u, v) / expected - 1).abs().max().item()
    assert error < 1e-6


@pytest.mark.parametrize("norm", [1e-6, 0.01, 1.0, 3.0, 15.0, 30.0, 75.0])
@pytest.mark.parametrize("c", [0.3, 1.0])
def test_special_pairs(norm, c):
    u = pair(3, 64, norm, norm, 0.0)[0].float()
    zero = torch.zeros_like(u)
    # Opposite ends of a diameter and the way from the origin: 2(|u| + |v|) and 2|u|, whatever c.
    assert both(u, -u, c) == pytest.approx((4 * norm, 4 * norm), rel=1e-6)
    assert both(u, zero, c) == pytest.approx((2 * norm, 2 * norm), rel=1e-6)
    assert both(zero, u, c) == pytest.approx((2 * norm, 2 * norm), rel=1e-6)
    assert ball.tangent_distance(u, u, c).item() == 0
    # Twice as far on the same ray; a power of two keeps the direction's digits.
    assert ball.tangent_distance(u, 2 * u, c).item() == pytest.approx(2 * norm, rel=1e-6)


@pytest.mark.parametrize("offset", [0.1, 0.01, 1e-3, 1e-4])
@pytest.mark.parametrize("norm", [1e-3, 1.0, 3.0, 12.0])
def test_nearly_equal_pairs_lose_no_more_than_a_rounding_of_the_input(norm, offset):
    u, v = (x.float() for x in pair(5, 576, norm, norm, offset))
    expected = exact(norm, norm, offset, 1.0)
    assert ball.tangent_distance(u, v).item() == pytest.approx(expected, rel=1e-6 + 3e-7 / offset)


def test_distance_is_euclidean_times_two_where_curvature_vanishes():
    u, v = pair(7, 5, 1.3, 0.4, 1.1)
    expected = 2 * (u - v).norm().item()
    assert both(u, v, 1e-8) == pytest.approx((expected, expected), rel=1e-6)


@few
@given(
    SEEDS, st.sampled_from([2, 17]), CURVATURES, st.floats(0.1, 2), st.floats(0.1, 2), st.floats(0.05, 3.0)
)
def test_gradients_agree_with_geoopt(seed, dimension, c, r, s, angle):
    u, v = pair(seed, dimension, r / math.sqrt(c), s / math.sqrt(c), angle)
    u.requires_grad_()
    oracle = ball_of(c)
    expected = torch.autograd.grad(oracle.dist(oracle.expmap0(u), oracle.expmap0(v)), u)[0]
    paired = torch.autograd.grad(ball.tangent_distance(u, v, c), u)[0]
    matrix = torch.autograd.grad(ball.tangent_distance_matrix(u[None], v[None], c).sum(), u)[0]
    torch.testing.assert_close(paired, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(matrix, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", [ball.tangent_distance, ball.tangent_distance_matrix])
def test_values_and_gradients_are_finite_everywhere(form):
    norms = [0.0, 1e-30, 1e-6, 1e-3, 1.0, 10.0, 19.9, 20.1, 30.0, 40.0, 75.0, 300.0]
    u0, v0 = (x.float() for x in pair(11, 33, 1.0, 1.0, 1.0))
    near = u0 + 1e-7 * v0
    cases = [(r * u0, s * w) for r in norms for s in norms for w in (v0, u0, -u0, near)]
    u = torch.stack([case[0] for case in cases]).requires_grad_()
    v = torch.stack([case[1] for case in cases]).requires_grad_()
    distances = form(u, v)
    distances.sum().backward()
    assert torch.isfinite(distances).all()
    assert (distances >= 0).all()
    assert torch.isfinite(u.grad).all()
    assert torch.isfinite(v.grad).all()


def test_gradient_of_coincident_points_is_zero_and_of_the_origin_is_right():
    u, v = (x.float() for x in pair(13, 8, 1.0, 2.0, 0.7))
    for point in (u, torch.zeros_like(u)):
        point.requires_grad_()
        assert torch.autograd.grad(ball.tangent_distance(point, point.detach()), point)[0].norm() == 0
    # From the origin the distance falls fastest straight towards v, by two for each unit of u.
    origin = torch.zeros(8, requires_grad=True)
    for form in (ball.tangent_distance, ball.tangent_distance_matrix):
        gradient = torch.autograd.grad(form(origin[None], v[None]).sum(), origin)[0]
        torch.testing.assert_close(gradient, -2 * v / v.norm(), rtol=1e-5, atol=1e-6)


def test_matrix_form_needs_one_matrix_product_and_two_for_the_gradients():
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            tensors = result if isinstance(result, tuple | list) else [result]
            self.numbers = max(self.numbers, *(t.numel() for t in tensors if isinstance(t, torch.Tensor)), 0)
            return result

    u, v = torch.randn(40, 64, requires_grad=True), torch.randn(30, 64, requires_grad=True)
    product = 2 * 40 * 30 * (64 + 1)  # one more for the product of a column and a row
    with Largest() as largest, FlopCounterMode(display=False) as count:
        distances = ball.tangent_distance_matrix(u, v)
        assert count.get_total_flops() == product
        distances.sum().backward()
    assert count.get_total_flops() == 3 * product
    assert largest.numbers == 40 * 64  # nothing of N x U x d


def test_gradients_of_the_matrix_form_are_those_of_its_values():
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    u = (u * torch.tensor([0.01, 1, 5, 20, 60, 150]).double()[:, None]).requires_grad_()  # cut off at 87
    v = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, v: ball.tangent_distance_matrix(u, v, 0.7), (u, v))


def test_matrix_form_of_coincident_points_is_small_and_turns_no_gradient_into_nan():
    u = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    u = torch.nn.functional.normalize(u, dim=1).requires_grad_()
    distances = ball.tangent_distance_matrix(u, u.detach())
    assert distances.diagonal().max() < 0.01  # of about 3 to the others
    assert torch.equal(distances.argmin(dim=1), torch.arange(8))
    assert torch.isfinite(torch.autograd.grad(distances.sum(), u)[0]).all()


@pytest.mark.parametrize("norm", [0.01, 1.0, 4.0, 8.0, 15.0, 70.0])
def test_matrix_form_ranks_nearly_equal_codes_at_any_norm(norm):
    """Rounding of the matrix product alone would put a code of norm 8 at a distance of 16 from itself."""
    generator = torch.Generator().manual_seed(0)
    near = torch.nn.functional.normalize(torch.randn(64, 576, generator=generator), dim=1)
    rest = torch.nn.functional.normalize(torch.randn(256, 576, generator=generator), dim=1)
    codes = torch.cat([norm * near, norm * rest * torch.rand(256, 1, generator=generator)])
    features = codes[:64] + 1e-3 * torch.randn(64, 576, generator=generator) / 24
    distances = ball.tangent_distance_matrix(features, codes)
    expected = ball.tangent_distance(features.double()[:, None], codes.double())
    torch.testing.assert_close(distances.double(), expected, rtol=1e-4, atol=0)
    assert torch.equal(distances.argmin(1), expected.argmin(1))
    assert torch.equal(ball.tangent_distance_matrix(codes, codes).diagonal(), torch.zeros(320))


def test_many_nearly_equal_pairs_take_no_more_memory():
    """All features near one place, as before training: they go through float64 instead."""
    u = (3 + 3e-3 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
    distances = ball.tangent_distance_matrix(u, u.detach())
    expected = ball.tangent_distance(u.detach().double()[:, None], u.detach().double())
    torch.testing.assert_close(distances.detach().double(), expected, rtol=1e-4, atol=1e-6)
    assert torch.isfinite(torch.autograd.grad(distances.sum(), u)[0]).all()


def test_matrix_form_compiles():
    compiled = torch.compile(ball.tangent_distance_matrix, backend="aot_eager")
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(n, 16, generator=generator, requires_grad=True) for n in (9, 7))
    expected, seen = ball.tangent_distance_matrix(u, v), compiled(u, v)
    torch.testing.assert_close(seen, expected)
    for one, other in zip(*(torch.autograd.grad(d.sum(), (u, v)) for d in (seen, expected)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_matrix_form_is_the_same_on_a_gpu():
    generator = torch.Generator().manual_seed(0)
    u, v = (3 * torch.randn(n, 576, generator=generator) / 24 for n in (64, 32))
    expected = ball.tangent_distance(u.double()[:, None], v.double())
    seen = ball.tangent_distance_matrix(u.cuda(), v.cuda()).cpu().double()
    torch.testing.assert_close(seen, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_in_float32_under_autocast_and_for_half_precision(dtype):
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(9, 64, generator=generator), torch.randn(7, 64, generator=generator)
    expected, paired = ball.tangent_distance_matrix(u, v), ball.tangent_distance(u[:7], v)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ball.tangent_distance_matrix(u, v), expected)
        assert torch.equal(ball.tangent_distance(u[:7], v), paired)
        assert ball.tangent_distance_matrix(u.double(), v.double()).dtype == torch.float64
    half = ball.tangent_distance_matrix(u.to(dtype), v)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, ball.tangent_distance_matrix(u.to(dtype).float(), v), rtol=0, atol=0)


def test_maps_invert_each_other_and_stay_finite_at_the_boundary():
    u = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ball.logmap0(ball.expmap0(u, 0.7), 0.7), u, rtol=1e-4, atol=1e-5)
    assert torch.equal(ball.expmap0(torch.zeros(3)), torch.zeros(3))
    assert torch.equal(ball.logmap0(torch.zeros(3)), torch.zeros(3))
    far = 50 * torch.eye(3)
    assert torch.isfinite(ball.logmap0(ball.expmap0(far))).all()
    assert math.isnan(ball.distance(torch.tensor([1.5, 0]), torch.tensor([0.1, 0])).item())
