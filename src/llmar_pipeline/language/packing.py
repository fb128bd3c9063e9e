"""Several clips in one row behind one instruction, so that it is computed once and no place is padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CLIPS_A_ROW = 4
"""Attention is over whole rows: with more clips it costs about what the shared tokens save."""


class Packed(NamedTuple):
    """R rows of L tokens: the shared ones, then those of a few clips.

    Attributes:
        embeddings: Input embeddings [R, L, du].
        visible: Whether the first token sees the second [R, 1, L, L], bool: those shared, and those before it
            of the same clip.
        position_ids: As if each clip stood alone behind the shared tokens [R, L], int64.
        places: Where each token of each clip went, as an index into the flattened rows [B, T], int64; any
            where the clip has none.
        owner: Clip of each token [R, L], int64; -1: shared, -2: nobody's.
    """

    embeddings: Tensor
    visible: Tensor
    position_ids: Tensor
    places: Tensor
    owner: Tensor


def pad_sentences(sentences: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Stack action sentences of different lengths.

    Args:
        sentences: Codes of each clip [W], or its features [W, du].

    Returns:
        Codes [clips, longest], int64, or features [clips, longest, du], float32, right-padded with 0, and
        their mask [clips, longest], bool.

    Source: ours.
    """
    lengths = torch.tensor([len(codes) for codes in sentences], dtype=torch.int64)
    mask = torch.arange(max(map(len, sentences), default=0)) < lengths[:, None]
    if not len(sentences):
        return torch.zeros(mask.shape, dtype=torch.int64), mask
    joined = torch.from_numpy(np.concatenate(sentences))
    joined = joined.float() if joined.is_floating_point() else joined.long()
    padded = joined.new_zeros(*mask.shape, *joined.shape[1:])
    padded[mask] = joined
    return padded, mask


def pack(shared: Tensor, clips: Tensor, mask: Tensor, clips_a_row: int = CLIPS_A_ROW) -> Packed:
    """Put clips into rows behind the tokens that all of them begin with.

    Args:
        shared: Embeddings of the tokens in front of every clip [P, du].
        clips: Embeddings of the clips' own tokens [B, T, du].
        mask: True where such a token is real [B, T], bool.
        clips_a_row: Clips that share one row.

    Returns:
        The rows. A decoder of the Llama kind computes the same for each token as with the clip alone.

    Source: ours.
    """
    device, front = mask.device, len(shared)
    number = torch.arange(len(mask), device=device)
    row = number // clips_a_row
    ends = mask.sum(dim=1).cumsum(dim=0)
    starts = ends - mask.sum(dim=1)
    in_row = front + starts - starts[row * clips_a_row]  # where each clip begins
    within = mask.long().cumsum(dim=1) - 1
    length = int((in_row + ends - starts).max())
    places = row[:, None] * length + in_row[:, None] + within

    # Gathered rather than scattered: the gradient is then summed in a fixed order.
    rows = int(row[-1]) + 1
    source = torch.zeros(rows, length, dtype=torch.int64, device=device)
    owner = torch.full((rows, length), -2, device=device)
    position_ids = torch.zeros_like(source)
    source[:, :front] = position_ids[:, :front] = torch.arange(front, device=device)
    owner[:, :front] = -1
    source.view(-1)[places[mask]] = front + mask.flatten().nonzero()[:, 0]
    owner.view(-1)[places[mask]] = number[:, None].expand_as(mask)[mask]
    position_ids.view(-1)[places[mask]] = front + within[mask]

    visible = (owner[:, :, None] == owner[:, None]) | (owner[:, None] == -1)
    visible &= torch.ones(length, length, dtype=torch.bool, device=device).tril()
    embeddings = F.embedding(source, torch.cat([shared, clips.flatten(0, 1)]))
    return Packed(embeddings, visible[:, None], position_ids, places, owner)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """An attention mask as every implementation of attention takes it.

    Args:
        visible: Whether a token sees another, bool.
        dtype: Number type of the embeddings.

    Returns:
        0 where it does, the least number where it does not, of the same shape.

    Source: ours.
    """
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, torch.finfo(dtype).min
    )


def position_ids(mask: Tensor) -> Tensor:
    """Position of every token among the real tokens of its row.

    Args:
        mask: True where a token is real [B, L], bool.

    Returns:
        Positions [B, L], int64, from 0; a padded place repeats the position before it.

    Source: ours.
    """
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)
