"""The losses of the first training stage, one function an equation."""

import torch.nn.functional as F
from torch import Tensor


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
    return _mean(F.smooth_l1_loss(reconstruction.float(), motion.float(), reduction="none"), mask)


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
    return _mean((features.detach() - embeddings).square().sum(-1), present)


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
    return _mean((features - embeddings.detach()).square().sum(-1), present)


def total_loss(
    reconstruction: Tensor, embedding: Tensor, commitment: Tensor, commitment_weight: float
) -> Tensor:
    """Weighted sum of the losses.

    Args:
        reconstruction: L_re, `[]`.
        embedding: L_embed, `[]`.
        commitment: L_commit, `[]`.
        commitment_weight: omega_1.

    Returns:
        The loss, `[]`.

    Source: Eq. 12 of the paper.
    """
    return reconstruction + embedding + commitment_weight * commitment


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)
