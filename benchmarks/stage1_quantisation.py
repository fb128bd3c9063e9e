"""The quantisation step against geoopt's broadcast distance and a Euclidean quantiser; see stage1.py."""

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from geoopt.manifolds.stereographic import PoincareBall
from measuring import DEVICE, in_fresh_process, now, peak, take_turns, times
from torch import Tensor

from llmar_pipeline.vqvae import ball
from llmar_pipeline.vqvae.losses import gumbel_noise, token_counts

BATCH, TOKENS, CODES, DIMENSIONS = 256, 16, 512, (576, 5120)  # the paper's; 576: the demo's language model
CHUNK_BYTES, CHUNKS = 64 * 2**20, 4  # of geoopt's [features, codes, d]: size of a chunk, chunks measured


def euclidean(features: Tensor, codes: Tensor) -> Tensor:
    """Squared Euclidean distances, as quantisers of the field compute them (VQ-VAE, T2M-GPT)."""
    products = features @ codes.T
    return features.square().sum(1, keepdim=True) - 2 * products + codes.square().sum(1)


def broadcast(features: Tensor, codes: Tensor) -> Tensor:
    """geoopt's distance of every pair."""
    manifold = PoincareBall().to(features.device)
    return manifold.dist(manifold.expmap0(features)[:, None], manifold.expmap0(codes)[None])


GEOOPT = "hyperbolic, geoopt"
WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Euclidean": euclidean,
    "hyperbolic, ours": ball.tangent_distance_matrix,
    GEOOPT: broadcast,
}


def inputs(dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features and codes of norms about 3, as words have, and a gradient of the distances."""
    torch.manual_seed(0)
    features = torch.randn(BATCH * TOKENS, dimension).mul_(3 / dimension**0.5)
    codes = torch.randn(CODES, dimension).mul_(3 / dimension**0.5)
    return features.to(DEVICE), codes.to(DEVICE), torch.randn(len(features), CODES).to(DEVICE)


def distance_step(way: str, features: Tensor, codes: Tensor, gradient: Tensor) -> float:
    """Seconds of all distances and of their gradients to features and codes.

    geoopt's needs many tensors of features x codes x d numbers, so it gets the features in chunks, of which
    a few are measured.
    """
    rows, all_features = len(features), len(features)
    if way == GEOOPT:
        rows = max(1, CHUNK_BYTES // (codes.numel() * 4))
        features, gradient = features[: rows * CHUNKS], gradient[: rows * CHUNKS]
    codes = codes.clone().requires_grad_()
    started = now()
    for some, of_some in zip(features.split(rows), gradient.split(rows), strict=True):
        WAYS[way](some.detach().requires_grad_(), codes).backward(of_some)
    return (now() - started) * all_features / len(features)


def training_step(way: str, features: Tensor, codes: Tensor, gradient: Tensor) -> float:
    """Seconds of what training does with the distances: nearest codes, and the soft counts of Eq. 3."""
    features, codes = features.clone().requires_grad_(), codes.clone().requires_grad_()
    shape = torch.Size((BATCH, TOKENS, CODES))
    everywhere = torch.ones(shape[:2], dtype=torch.bool, device=DEVICE)
    started = now()
    distances = WAYS[way](features, codes).view(shape)
    distances.detach().argmin(-1)
    counts = token_counts(distances, everywhere, gumbel_noise(shape, distances), 1.0)
    counts.backward(gradient[:BATCH])
    return now() - started


def peak_mib(way: str, dimension: int) -> float:
    """Memory that `distance_step` takes beyond its inputs; to be called in a fresh process."""
    features, codes, gradient = inputs(dimension)
    distance_step(way, features[:16], codes[:16], gradient[:16, :16])  # loads libraries
    before = peak()
    distance_step(way, features, codes, gradient)
    return (peak() - before) / 2**20


def quantise(rounds: int) -> list[str]:
    """The Markdown section."""
    peaks: dict[tuple[str, int], float] = {}
    for dimension in DIMENSIONS:  # first, since a new process inherits this one's peak
        for way in WAYS:
            peaks[way, dimension] = in_fresh_process(peak_mib, way, dimension)
    lines = [f"## Quantisation: {BATCH * TOKENS:,} features, {CODES} codes, forward and backward", ""]
    for dimension in DIMENSIONS:
        given = inputs(dimension)
        fast = [way for way in WAYS if way != GEOOPT]
        steps = take_turns({way: partial(distance_step, way, *given) for way in fast}, rounds)
        whole_steps = take_turns({way: partial(training_step, way, *given) for way in fast}, rounds)
        slow = median(take_turns({GEOOPT: partial(distance_step, GEOOPT, *given)}, 2)[GEOOPT])
        lines += [
            f"| d = {dimension:,} | distances, ms | times | peak memory, MiB | and soft counts, ms | times |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {way} | {median(steps[way]) * 1e3:,.0f} | {times(steps, way, fast[0]):.2f} "
            f"| {peaks[way, dimension]:,.0f} "
            f"| {median(whole_steps[way]) * 1e3:,.0f} | {times(whole_steps, way, fast[0]):.2f} |"
            for way in fast
        ]
        pairs = BATCH * TOKENS * CODES * dimension * 4 / 2**30
        lines += [
            f"| {GEOOPT} | {slow * 1e3:,.0f} | {slow / median(steps[fast[0]]):,.0f} "
            f"| {peaks[GEOOPT, dimension]:,.0f} | - | - |",
            "",
            f"geoopt's tensors of all pairs would take {pairs:.1f} GiB each; so it gets "
            f"{CHUNK_BYTES // (CODES * dimension * 4)} features at a time, {CHUNKS} times, and its time is "
            "multiplied up.",
            "",
        ]
    lines += [
        "*distances*: with gradients to features and codes. *and soft counts*: also the nearest codes and",
        "the Gumbel-softmax counts of Eq. 3, as in training. *peak memory*: beyond features and codes.",
        "",
    ]
    return lines
