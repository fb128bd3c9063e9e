"""The losses of the first training stage, one function an equation.

Under several processes each holds a part of the batch; the average of the losses over the processes is the
loss of the whole batch.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.zipf import zipf_target

_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SHARE_FLOOR = 1e-10  # far below any share, so it shifts no digit; without it an unused code has no gradient


def gumbel_noise(shape: torch.Size | tuple[int, ...], like: Tensor) -> Tensor:
    """Draw standard Gumbel noise, for each process its rows of one draw.

    Args:
        shape: Of the noise, the first axis being the batch.
        like: A tensor on the device wanted.

    Returns:
        Noise, `[*shape]`, float32.

    Source: Eq. 3 of the paper.
    """
    noise = torch.empty(shape[0] * processes.count(), *shape[1:], device=like.device)
    return -processes.own_rows(noise.exponential_()).log()


def token_counts(distances: Tensor, present: Tensor, gumbel: Tensor, temperature: float) -> Tensor:
    """Count how often each sequence uses each code, differentiably.

    Forward, every token is the one code with the greatest -dist + noise; backward, the softmax of these
    (straight-through).

    Args:
        distances: Of each token's feature to each code, `[B, W, U]`.
        present: True where a token covers an observed frame, `[B, W]`.
        gumbel: Standard Gumbel noise, `[B, W, U]`.
        temperature: Of the softmax.

    Returns:
        Counts t, `[B, U]`, float32; absent tokens count nothing.

    Source: Eq. 3 of the paper; temperature: ours.
    """
    logits = (gumbel - distances) / temperature
    soft = logits.softmax(-1)
    hard = torch.zeros_like(soft).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    one_hot = hard + (soft - soft.detach())
    return (one_hot * present.unsqueeze(-1)).sum(1)


def zipf_loss(counts: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the codes' sorted frequencies to Zipf's law.

    Args:
        counts: Uses of each code by the whole batch, `[U]`, not negative.

    Returns:
        From 0 to ln 2, `[]`. Where a count is 0 the gradient is large but finite.

    Source: L_Zipf, Eq. 4 of the paper.
    """
    target = _target(len(counts), counts.device, counts.dtype)
    share = counts.sort(descending=True).values / counts.sum().clamp(min=1e-12)
    middle = (share + target) / 2
    return (_relative_entropy(share, middle) + _relative_entropy(target, middle)) / 2


def context_loss(counts: Tensor, partners: Tensor) -> Tensor:
    """One less the share of tokens that stand in a correlated pair within their sequence.

    A pair of codes used a and b times makes 2 min(a, b) such tokens.

    Args:
        counts: Uses of each code by each sequence, `[B, U]`.
        partners: The code that each is paired with, `[U]`, int64, its own inverse.

    Returns:
        From 0 to 1, `[]`; the rarer code of a pair gets the gradient.

    Source: L_context, Eq. 5 of the paper; Corr(t): ours, after its "min pooling over every pair".
    """
    correlated = torch.minimum(counts, counts[:, partners]).sum()
    tokens = processes.total(counts.detach().sum()) / processes.count()
    return 1 - correlated / tokens.clamp(min=1e-12)


def kernel_bandwidths(words: Tensor) -> Tensor:
    """Bandwidths of the kernels of `mmd`: a quarter to four times the median distance of the words.

    Args:
        words: Word embeddings, `[N, d]`.

    Returns:
        Bandwidths, `[5]`.

    Source: ours, the median heuristic of the MMD literature.
    """
    return torch.pdist(words.float()).median() * torch.tensor(_BANDWIDTHS, device=words.device)


def word_term(words: Tensor, bandwidths: Tensor) -> Tensor:
    """Mean kernel among words: the term of `mmd` that training does not change.

    Args:
        words: Word embeddings, `[N, d]`.
        bandwidths: Of the kernels, `[K]`.

    Returns:
        `[]`.

    Source: as `mmd`.
    """
    return _mean_kernel_within(words.float(), bandwidths)


def mmd(codes: Tensor, words: Tensor, bandwidths: Tensor, word_term: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of the codes to words of the language model.

    Args:
        codes: Log-mapped codes, `[U, d]`.
        words: A sample of the language model's input word embeddings, `[N, d]`.
        bandwidths: Of the Gaussian kernels exp(-|x - y|^2 / (2 s^2)), which are averaged, `[K]`.
        word_term: Mean kernel among words, `[]`.

    Returns:
        The unbiased estimate, `[]`; about 0 where both come from one distribution, so below 0 at times.

    Source: Eq. 7 of the paper; kernels and estimate: ours, after Gretton et al. 2012.
    """
    codes, words = codes.float(), words.float()
    between = _mean_kernel(_squared_distances(codes, words), bandwidths).mean()
    return _mean_kernel_within(codes, bandwidths) + word_term - 2 * between


def human_loss(
    zipf: Tensor | float,
    context: Tensor | float,
    mmd: Tensor | float,
    zipf_weight: float = 1.0,
    context_weight: float = 1.0,
    mmd_weight: float = 1.0,
) -> Tensor | float:
    """Sum of the human inductive biases and of the alignment to the language model's words.

    Args:
        zipf: L_Zipf, `[]`.
        context: L_context, `[]`.
        mmd: MMD, `[]`.
        zipf_weight: 1 in the paper, 0 in its ablations; as the next two.
        context_weight: Of L_context.
        mmd_weight: Of MMD; without it this is Eq. 6.

    Returns:
        L_human, `[]`.

    Source: Eq. 6 and 7 of the paper.
    """
    return zipf_weight * zipf + context_weight * context + mmd_weight * mmd


def reconstruction_loss(motion: Tensor, reconstruction: Tensor, mask: Tensor) -> Tensor:
    """Smooth L1 distance of the motion and its reconstruction, averaged over the observed entries.

    Args:
        motion: Input, `[B, V, channels]`, any finite number where not observed.
        reconstruction: Decoder output, `[B, V, channels]`.
        mask: True where observed, `[B, V, channels]`.

    Returns:
        The loss, `[]`; 0 where nothing is observed.

    Source: L_re of Eq. 11; the mask and the threshold 1 of the smooth L1 loss: ours.
    """
    gap = F.smooth_l1_loss(reconstruction.float(), motion.float(), reduction="none")
    return processes.mean(gap, mask)


def embedding_loss(features: Tensor, embeddings: Tensor, present: Tensor) -> Tensor:
    """Squared distance of the codes to the features; moves the codes, not the encoder.

    The squared norm is summed over du, as the equation's norm says, and averaged over the present tokens of
    the batch.

    Args:
        features: Encoder output f, `[B, W, du]`.
        embeddings: Log-mapped codes f^d of the features, `[B, W, du]`.
        present: True where a token covers an observed frame, `[B, W]`.

    Returns:
        The loss, `[]`; 0 where no token is present.

    Source: L_embed of Eq. 11; the mean over batch and tokens: ours.
    """
    return processes.mean((features.detach() - embeddings).square().sum(-1), present)


def commitment_loss(features: Tensor, embeddings: Tensor, present: Tensor) -> Tensor:
    """Squared distance of the features to their codes; moves the encoder, not the codes.

    Args:
        features: Encoder output f, `[B, W, du]`.
        embeddings: Log-mapped codes f^d of the features, `[B, W, du]`.
        present: True where a token covers an observed frame, `[B, W]`.

    Returns:
        The loss, `[]`; 0 where no token is present.

    Source: L_commit of Eq. 11; summed and averaged as `embedding_loss`.
    """
    return processes.mean((features - embeddings.detach()).square().sum(-1), present)


def total_loss(
    reconstruction: Tensor,
    embedding: Tensor | float,
    commitment: Tensor | float,
    human: Tensor | float,
    commitment_weight: float = 0.02,
    human_weight: float = 0.2,
) -> Tensor:
    """Weighted sum of the losses.

    Args:
        reconstruction: L_re, `[]`.
        embedding: L_embed, `[]`.
        commitment: L_commit, `[]`.
        human: L_human, `[]`.
        commitment_weight: omega_1.
        human_weight: omega_2.

    Returns:
        The loss, `[]`.

    Source: Eq. 12 of the paper.
    """
    return reconstruction + embedding + commitment_weight * commitment + human_weight * human


@cache
def _target(codes: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(zipf_target(codes)).to(device, dtype)


def _relative_entropy(p: Tensor, q: Tensor) -> Tensor:
    return (p * torch.log((p + _SHARE_FLOOR) / (q + _SHARE_FLOOR))).sum()


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    return torch.addmm(norms, x, y.T, alpha=-2).clamp(min=0)


class _MeanKernel(torch.autograd.Function):
    """Mean over the bandwidths of exp(-x / (2 s^2)), element by element.

    Its slope is the mean of the kernels, each by its factor: kept beside the value, it spares the backward
    pass of `mmd` half of its passes, and the memory of a matrix a bandwidth.
    """

    @staticmethod
    def forward(ctx: Any, squared_distances: Tensor, bandwidths: Tensor) -> Tensor:
        factors = -1 / (2 * bandwidths.square())
        value, slope = torch.zeros_like(squared_distances), torch.zeros_like(squared_distances)
        for factor in factors.unbind():
            kernel = (squared_distances * factor).exp_()
            value.add_(kernel)
            slope.addcmul_(kernel, factor)
        ctx.save_for_backward(slope.div_(len(factors)))
        return value.div_(len(factors))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        slope: Tensor
        (slope,) = ctx.saved_tensors
        return gradient * slope, None


def _mean_kernel(squared_distances: Tensor, bandwidths: Tensor) -> Tensor:
    made: Tensor = _MeanKernel.apply(squared_distances, bandwidths)
    return made


def _mean_kernel_within(x: Tensor, bandwidths: Tensor) -> Tensor:
    """Over all pairs of different rows; the diagonal's kernels are exactly 1."""
    kernel = _mean_kernel(_squared_distances(x, x).fill_diagonal_(0), bandwidths)
    return (kernel.sum() - len(x)) / (len(x) * (len(x) - 1))
