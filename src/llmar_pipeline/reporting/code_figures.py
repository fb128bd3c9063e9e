"""Plotly figures of the codebook: usage against Zipf's law, and a map of the codes."""

import numpy as np
import plotly.graph_objects as go
from scipy.linalg import eigh

from llmar_pipeline.evaluation.sentences import js_divergence, perplexity, used_codes
from llmar_pipeline.reporting.figures import INK, MUTED, PALETTE, TEMPLATE
from llmar_pipeline.vqvae.zipf import zipf_target

UNUSED = "#d5dbe1"
RIM = 0.9  # radius in the disc of the 95th percentile of the used codes
FARTHEST = 1 - 1e-15  # radius of a point on the boundary, to the last digit of float64


def usage_figure(usage: np.ndarray, books: int = 1) -> go.Figure:
    """Draw the share of every code by rank against Zipf's law, both axes logarithmic.

    Args:
        usage: Occurrences of every code, [books * U], as `sentences.code_usage` gives them.
        books: Number of codebooks, the codes of each in one block; each is ranked by itself, and perplexity
            and divergence are averaged over them.

    Source: Eq. 2 of the paper.
    """
    by_book = usage.reshape(books, -1)
    target = zipf_target(by_book.shape[1])
    rank = np.arange(1, len(target) + 1)
    figure = go.Figure()
    for book, counts in enumerate(by_book):
        used = used_codes(counts)
        figure.add_scatter(
            x=rank[:used],
            y=100 * np.sort(counts)[::-1][:used] / np.sum(counts),
            name="action sentences" if books == 1 else f"codebook {book + 1}",
            mode="markers",
            marker={"size": 5, **_look(book)},
        )
    figure.add_scatter(x=rank, y=100 * target, name="Zipf's law", mode="lines", line_color=INK)
    figure.update_xaxes(title_text="rank of the code", type="log", dtick=1)
    figure.update_yaxes(title_text="share of all tokens (%)", type="log", dtick=1, tickformat="~g")
    title = (
        f"{used_codes(usage)} of {len(usage)} codes used, "
        f"perplexity {np.mean([perplexity(counts) for counts in by_book]):.1f}"
        f" (Zipf {perplexity(target):.1f}),<br>Jensen-Shannon divergence "
        f"{np.mean([js_divergence(counts, target) for counts in by_book]):.3f} nats"
    )
    return figure.update_layout(
        template=TEMPLATE,
        height=400,
        title={"text": title, "font": {"size": 13}},
        margin_t=64,
        legend={"x": 0.02, "y": 0.04, "yanchor": "bottom", "orientation": "v"},
    )


def centred(tangent: np.ndarray, centre: np.ndarray, curvature: float) -> np.ndarray:
    """Move a point of the ball to the origin and all others with it; an isometry, which keeps every distance.

    Args:
        tangent: Points as tangent vectors at the origin, [N, du].
        centre: The point that is moved to the origin, as a tangent vector there, [du].
        curvature: c of the ball, 0 for the Euclidean space.

    Returns:
        The moved points as tangent vectors at the origin, float64 [N, du]. Norms above 17 / sqrt(c), which
        float64 cannot tell from the boundary, are taken as that.

    Source: Moebius addition of -exp0(centre), Ungar's gyrovector spaces.
    """
    points, m = np.asarray(tangent, dtype=np.float64), np.asarray(centre, dtype=np.float64)
    if curvature == 0:
        return points - m
    root = np.sqrt(curvature)
    x, m = to_disc(points, curvature), to_disc(m[None], curvature)
    xx, mm, mx = (x**2).sum(1, keepdims=True), (m**2).sum(), x @ m.T
    moved = ((1 - mm) * x - (1 - 2 * mx + xx) * m) / (1 - 2 * mx + mm * xx)
    radius = np.linalg.norm(moved, axis=1, keepdims=True)
    norm = np.arctanh(radius.clip(max=FARTHEST)) / root
    stretched: np.ndarray = moved * np.divide(norm, radius, out=np.ones_like(norm) / root, where=radius > 0)
    return stretched


def principal_plane(vectors: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the plane through the origin that holds most of the weighted squared norms.

    Args:
        vectors: [U, du].
        weights: Not negative, [U].

    Returns:
        (the two principal directions, [du, 2]; the plane's share of the weighted squared norms, from 0 to 1).
        The vector that reaches farthest along a direction does so on its positive side.

    Source: principal component analysis about the origin.
    """
    rows = np.sqrt(weights)[:, None] * vectors
    n = len(rows)
    values, mixtures = eigh(rows @ rows.T, subset_by_index=[max(n - 2, 0), n - 1])
    directions = (rows.T @ mixtures / np.sqrt(values.clip(min=1e-300)))[:, ::-1]
    along = vectors @ directions
    farthest = along[np.abs(along).argmax(axis=0), np.arange(along.shape[1])]
    total = float(np.square(rows).sum())
    return directions * np.where(farthest < 0, -1, 1), float(values.sum()) / total if total else 1.0


def to_disc(tangent: np.ndarray, curvature: float) -> np.ndarray:
    """Map tangent vectors at the origin, [N, d], into the ball, drawn with radius 1 for every curvature.

    Source: Eq. 8 of the paper, times the square root of the curvature.
    """
    norm = np.sqrt(curvature) * np.linalg.norm(tangent, axis=1, keepdims=True)
    ratio = np.divide(np.tanh(norm).clip(max=FARTHEST), norm, out=np.ones_like(norm), where=norm > 0)
    points: np.ndarray = np.sqrt(curvature) * tangent * ratio
    return points


def code_map_figure(
    tangent: np.ndarray,
    usage: np.ndarray,
    books: int = 1,
    geometry: str = "hyperbolic",
    curvature: float = 1.0,
) -> go.Figure:
    """Draw the codes in two dimensions: in the Poincare disc, or in the Euclidean plane.

    An isometry moves the mean token (the mean of the tangent vectors, weighted by usage) to the middle; a
    plus marks where the origin went. The codes are then projected, as tangent vectors at the middle, to the
    plane that holds most of the tokens' squared distances, multiplied by one factor and mapped into the disc.
    The factor brings the 95th percentile of the used codes to radius 0.9; otherwise far codes would all stick
    to the rim. The title says how large it is, and how much of the squared distances the plane holds. The
    area of a dot is the code's usage; unused codes are pale.

    Preserved: directions within the plane, and which of two codes of the plane lies farther from the middle.
    Geodesics through the middle are straight lines. The plane is totally geodesic, so with factor 1 the codes
    within it keep their distances too. Not preserved: what lies outside the plane, and, as hyperbolic space
    knows no similarities, ratios of distances under any factor but 1. The Euclidean plane needs no factor.

    Args:
        tangent: Codes as tangent vectors at the origin, [books * U, du].
        usage: Occurrences of every code, [books * U].
        books: Number of codebooks, the codes of each in one block and of one colour.
        geometry: "hyperbolic" or "euclidean".
        curvature: c of the ball.

    Source: Eq. 8 of the paper; projection and factor: ours.
    """
    hyperbolic = geometry == "hyperbolic"
    weights = usage / usage.sum() if usage.any() else np.full(len(usage), 1 / len(usage))
    with_origin = np.vstack([tangent, np.zeros(tangent.shape[1])])
    vectors = centred(with_origin, weights @ tangent, curvature if hyperbolic else 0.0)
    directions, share = principal_plane(vectors[:-1], weights)
    points = vectors @ directions
    where = "Euclidean plane"
    if hyperbolic:
        reach = np.quantile(np.linalg.norm(points[:-1][weights > 0], axis=1), 0.95)
        factor = float(np.arctanh(RIM) / (np.sqrt(curvature) * reach)) if reach > 0 else 1.0
        points = to_disc(factor * points, curvature)
        where = f"Poincaré disc, distances to the middle times {factor:.3g}"
    points, origin = points[:-1], points[-1]
    figure = go.Figure()
    if hyperbolic:
        figure.add_shape(type="circle", x0=-1, y0=-1, x1=1, y1=1, line={"color": MUTED, "width": 1.5})
    book_of = np.arange(len(usage)) // (len(usage) // books)
    area = {"sizemode": "area", "sizeref": 2 * max(usage.max(), 1) / 22**2, "sizemin": 2.5, "opacity": 0.75}
    groups = [("not used", usage == 0, {"size": 5, "color": UNUSED})]
    for book in range(books):
        chosen = (book_of == book) & (usage > 0)
        name = "used" if books == 1 else f"codebook {book + 1}"
        groups.append((name, chosen, {**area, **_look(book), "size": usage[chosen]}))
    for name, chosen, marker in groups:
        codes = np.flatnonzero(chosen)
        figure.add_scatter(
            x=points[codes, 0],
            y=points[codes, 1],
            name=f"{name} ({len(codes)})",
            mode="markers",
            marker=marker,
            customdata=np.column_stack([codes, usage[codes], 100 * usage[codes] / max(usage.sum(), 1)]),
            hovertemplate="code %{customdata[0]}<br>%{customdata[1]} times, %{customdata[2]:.2f} % of all"
            "<extra></extra>",
        )
    figure.add_annotation(
        x=origin[0], y=origin[1], text="+", showarrow=False, font={"color": INK, "size": 18}
    )
    limits = [-1.03, 1.03] if hyperbolic else None
    hidden = {"showgrid": False, "showticklabels": False, "ticks": "", "range": limits}
    figure.update_xaxes(**hidden)
    figure.update_yaxes(scaleanchor="x", **hidden)
    return figure.update_layout(
        template=TEMPLATE,
        height=600,
        title={
            "text": f"{where}; the plane holds {100 * share:.0f} % of the squared distances",
            "font_size": 13,
        },
        legend={"y": -0.01, "yanchor": "top", "itemsizing": "constant"},
        margin_t=40,
    )


def _look(book: int) -> dict[str, str]:
    """Colour and symbol of a codebook, no two alike among the first 28."""
    symbols = ["circle", "diamond", "square", "triangle-up"]
    return {"color": PALETTE[book % len(PALETTE)], "symbol": symbols[book // len(PALETTE) % len(symbols)]}
