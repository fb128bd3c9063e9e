"""Poincare-ball geometry: the exponential and logarithmic map at the origin, and the distance.

The ball of curvature -c holds the points with c ||x||^2 < 1 (the paper prints c ||x|| < 1).

A point is given in one of two ways: by its ball coordinates x, as in Eq. 8-10, or by its tangent vector
u at the origin, x = exp0(u). Ball coordinates crowd at the boundary, where float32 cannot tell them apart
from ||u|| of about 9 on, so the codebook works with tangent vectors, and training needs only
`tangent_distance` and `tangent_distance_matrix`. All functions compute in float32 at least, also under
autocast.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Added to squared norms: gives the zero vector a gradient, and changes no norm above 1e-12.
_SQUARED_NORM_FLOOR = 1e-30
_FEW = 4


def expmap0(u: Tensor, c: float = 1.0) -> Tensor:
    """Project tangent vectors at the origin into the ball.

    Args:
        u: Tangent vectors, `[..., d]`.
        c: Curvature, positive.

    Returns:
        Ball coordinates, `[..., d]`.

    Source: Eq. 8 of the paper.
    """
    u = at_least_float32(u)
    scaled_norm = math.sqrt(c) * _norm(u)
    return torch.tanh(scaled_norm) / scaled_norm * u


def logmap0(x: Tensor, c: float = 1.0) -> Tensor:
    """Project points of the ball back to tangent vectors at the origin; the inverse of `expmap0`.

    Args:
        x: Ball coordinates, `[..., d]`. Points that round onto the boundary are taken as just within it.
        c: Curvature, positive.

    Returns:
        Tangent vectors, `[..., d]`.

    Source: Eq. 10 of the paper.
    """
    x = at_least_float32(x)
    scaled_norm = math.sqrt(c) * _norm(x)
    return torch.atanh(scaled_norm.clamp(max=1 - torch.finfo(x.dtype).eps)) / scaled_norm * x


def distance(x: Tensor, y: Tensor, c: float = 1.0) -> Tensor:
    """Geodesic distance of points given in ball coordinates.

    Written with arsinh: arccosh(1 + 2z) = 2 arsinh(sqrt(z)), which keeps its digits for small z.

    Args:
        x: Ball coordinates, `[..., d]`.
        y: Ball coordinates, `[..., d]`.
        c: Curvature, positive.

    Returns:
        Distances, `[...]`; NaN for points outside the ball.

    Source: Eq. 9 of the paper, in its general form for curvature c; equal to Eq. 9 at c = 1.
    """
    x, y = at_least_float32(x), at_least_float32(y)
    gap = torch.linalg.vector_norm(x - y, dim=-1)
    room = torch.sqrt(1 - c * x.square().sum(-1)) * torch.sqrt(1 - c * y.square().sum(-1))
    return 2 / math.sqrt(c) * torch.asinh(math.sqrt(c) * gap / room)


def tangent_distance(u: Tensor, v: Tensor, c: float = 1.0) -> Tensor:
    """Geodesic distance of exp0(u) and exp0(v), row by row, without ball coordinates.

    Finite, gradient included, for every norm. The distance has a kink where u = v; its gradient there is
    taken as 0, which is one of the subgradients, since the distance is smallest there.

    Args:
        u: Tangent vectors at the origin, `[..., d]`.
        v: Tangent vectors at the origin, `[..., d]`.
        c: Curvature, positive.

    Returns:
        Distances, `[...]`.

    Source: Eq. 8 and 9 of the paper, combined by the half-angle form of the hyperbolic law of cosines.
    """
    u, v = at_least_float32(u), at_least_float32(v)
    u_norm, v_norm = _norm(u), _norm(v)
    # The chord of the unit vectors, because 1 - cos(t) has no digits left where the angle t is small.
    sin2_half_angle = (u / u_norm - v / v_norm).square().sum(-1) / 4
    return _from_norms_and_angle(u_norm.squeeze(-1), v_norm.squeeze(-1), sin2_half_angle, c)


def tangent_distance_matrix(u: Tensor, v: Tensor, c: float = 1.0) -> Tensor:
    """Geodesic distance of every exp0(u) to every exp0(v), with one matrix product.

    Rounding of the matrix product costs nearly equal pairs their digits: those (in float32, at angles below
    about 0.03 radians) are computed by `tangent_distance`. Where they are more than a few for each u, all is
    computed in float64, and of pairs nearly equal even there (angles below about 3e-4) only the one that
    seems nearest to each u again. On CUDA it needs full float32 products (torch's default), not TF32.
    Finite, gradient included, for norms up to 1e18.

    Args:
        u: Tangent vectors at the origin, `[N, d]`.
        v: Tangent vectors at the origin, `[U, d]`.
        c: Curvature, positive.

    Returns:
        Distances, `[N, U]`.

    Source: the hyperbolic law of cosines, cosh(d) = cosh(a) cosh(b) - sinh(a) sinh(b) cos(t) with a = 2|u|,
    b = 2|v|, which is Eq. 8 and 9 of the paper combined.
    """
    u, v = at_least_float32(u), at_least_float32(v)
    with torch.autocast(u.device.type, enabled=False):
        u_cosh1, u_scale, u_beyond = _half_law_of_cosines(u, c)
        v_cosh1, v_scale, v_beyond = _half_law_of_cosines(v, c)
        # cosh(a) cosh(b) - 1, in terms that keep the digits of small norms.
        straight = torch.addmm(v_cosh1.T, u_cosh1, (1 + v_cosh1).T)
        cosh1 = torch.addcmul(straight, u_scale, u @ (v_scale * v).T, value=-1)
        distances: Tensor = (_Arcosh1p.apply(cosh1) + u_beyond + v_beyond.T) / math.sqrt(c)
        # A difference this small a share of its terms has lost half of its digits.
        half = torch.finfo(u.dtype).eps ** 0.5
        cancelled = (cosh1.detach() < half * straight.detach()).nonzero(as_tuple=True)
        if len(cancelled[0]) > _FEW * len(u):  # their vectors side by side would fill the memory
            if u.dtype == torch.float32:
                return tangent_distance_matrix(u.double(), v.double(), c).float()
            cancelled = (torch.arange(len(u), device=u.device), distances.detach().argmin(1))
        if len(cancelled[0]):
            rows, columns = cancelled
            distances = distances.index_put(cancelled, tangent_distance(u[rows], v[columns], c))
        return distances


def _half_law_of_cosines(u: Tensor, c: float) -> tuple[Tensor, Tensor, Tensor]:
    """One side of the law of cosines: cosh(a) - 1, sinh(a) / |u|, and the rest of a, `[N, 1]` each.

    a is cut off where products of cosh would overflow; the rest is added to the distance. No digit is lost:
    so far out (a = 20 in float32), arccosh is a logarithm, cosh an exponential, and factors become summands.
    """
    norm = _norm(u)
    half = math.sqrt(c) * norm
    near = half.clamp(max=math.log(torch.finfo(u.dtype).max) / 8 - 1)
    return 2 * torch.sinh(near) ** 2, torch.sinh(2 * near) / norm, 2 * (half - near)


class _Arcosh1p(torch.autograd.Function):
    """arccosh(1 + x), element by element, digits of small x kept; x below 0 counts as 0, with gradient 0.

    The gradient is 1 / sqrt(x (x + 2)), a root that the value needs anyway. Left to autograd, the whole
    distance and its gradients take a fifth longer, and the gradient at 0 is not finite.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clamp(min=0)
        root = (x + 2).mul_(x).sqrt_()
        value = x.add_(root).log1p_()
        ctx.save_for_backward(torch.threshold_(root, 0.0, math.inf))  # what is 0 divides to gradient 0
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        root: Tensor
        (root,) = ctx.saved_tensors
        return gradient / root


def _from_norms_and_angle(u_norm: Tensor, v_norm: Tensor, sin2_half_angle: Tensor, c: float) -> Tensor:
    """The law of cosines: sinh^2(d/2) = sinh^2(r - s) + sinh(2r) sinh(2s) sin^2(t/2), r = |u|, s = |v|."""
    r, s = math.sqrt(c) * u_norm, math.sqrt(c) * v_norm
    sin2 = sin2_half_angle.clamp(0, 1)

    limit = math.log(torch.finfo(r.dtype).max) / 4 - 2  # 20 in float32; the products of sinh are finite
    r_near, s_near = r.clamp(max=limit), s.clamp(max=limit)
    near = torch.sinh(r_near - s_near) ** 2 + torch.sinh(2 * r_near) * torch.sinh(2 * s_near) * sin2
    coincident = near == 0  # sqrt has no finite gradient there
    near = torch.asinh(torch.sqrt(near.masked_fill(coincident, 1))).masked_fill(coincident, 0)

    # Beyond it in logarithms, with 2 sinh(x) = exp(x) and arsinh(x) = log(2x) to the last digit, of
    # sinh^2(d/2) = cos^2(t/2) sinh^2(r - s) + sin^2(t/2) sinh^2(r + s), which is the same.
    aligned = sin2 == 0
    log_sin2 = torch.log(sin2.masked_fill(aligned, 1)).masked_fill(aligned, -math.inf)
    log_cos2 = torch.log((1 - sin2).clamp(min=_SQUARED_NORM_FLOOR))
    far = torch.logaddexp(log_sin2 + 2 * (r + s), log_cos2 + 2 * (r - s).abs()) / 2

    return 2 / math.sqrt(c) * torch.where((r < limit) & (s < limit), near, far)


def _norm(x: Tensor) -> Tensor:
    return torch.sqrt(x.square().sum(-1, keepdim=True) + _SQUARED_NORM_FLOOR)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32, all else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
