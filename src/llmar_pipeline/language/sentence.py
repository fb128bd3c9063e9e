"""Action sentences: the codes of one sequence, as text, as a control, and as what a model reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmar_pipeline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def format_sentence(codes: Sequence[int] | np.ndarray) -> str:
    """Write an action sentence as text.

    Args:
        codes: Codebook indices, 0-based, one for each token.

    Returns:
        Text such as "<a17> <a402>".

    Source: ours.
    """
    return " ".join(f"<a{int(code)}>" for code in codes)


def shuffle_across_clips(codes: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """Give every clip the action sentence of another clip: a control with unchanged sentence statistics.

    Args:
        codes: One array of codes for each clip.
        seed: Seed of the permutation, a uniformly drawn cycle through all clips.

    Returns:
        The same arrays in another order; no clip keeps its own.

    Raises:
        UserError: There are fewer than two clips.

    Source: ours.
    """
    if len(codes) < 2:
        raise UserError(
            f"expected at least 2 clips to shuffle action sentences across, saw {len(codes)}; use a larger "
            "split."
        )
    cycle = np.random.default_rng(seed).permutation(len(codes))
    shuffled: list[np.ndarray] = [np.empty(0)] * len(codes)
    for receiver, giver in zip(cycle, np.roll(cycle, -1), strict=True):
        shuffled[receiver] = codes[giver]
    return shuffled


def read_clips(sentences: pd.DataFrame, column: str) -> list[np.ndarray]:
    """What the language model reads of each clip.

    Args:
        sentences: Action sentences, a row a reading.
        column: "codes" or "features", as `lora.input` says.

    Returns:
        Codes [W] or features [W, du] of each row.

    Raises:
        UserError: The action sentences were made without features.

    Source: ours.
    """
    if column not in sentences:
        raise UserError(
            f"expected {column} beside the action sentences, since lora.input={column}, saw none; run "
            "`kedro run --pipelines=stage2` with the same parameters."
        )
    return list(sentences[column])


def sentences_checksum(sentences: Sequence[np.ndarray]) -> str:
    """SHA-256 of what is read of all clips, one after the other.

    Source: ours.
    """
    digest = hashlib.sha256()
    for clip in sentences:
        digest.update(f"{clip.dtype}{clip.shape}".encode())
        digest.update(np.ascontiguousarray(clip).data)
    return digest.hexdigest()
