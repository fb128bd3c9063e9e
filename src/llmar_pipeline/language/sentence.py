"""Action sentences: the codes of one sequence, as text, as a control, and as what a model reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

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


class MappedFeatures(Sequence[np.ndarray]):
    """Features of readings in a NumPy file, read one by one when they are used.

    They go to another process as the place where they lie.

    Args:
        file: As `tokenize_clips` writes it, [readings, W, du].
        rows: Which of its rows.

    Source: ours.
    """

    def __init__(self, file: Path, rows: np.ndarray) -> None:
        self._file, self._rows = file, rows
        self._all: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, reading: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, reading: slice) -> MappedFeatures: ...
    def __getitem__(self, reading: int | slice) -> np.ndarray | MappedFeatures:
        """Features [W, du] of a reading, or several readings."""
        if isinstance(reading, slice):
            return MappedFeatures(self._file, self._rows[reading])
        if self._all is None:
            self._all = np.asarray(np.load(self._file, mmap_mode="r"))
        found: np.ndarray = self._all[self._rows[reading]]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_all": None}


def read_clips(sentences: pd.DataFrame, column: str) -> Sequence[np.ndarray]:
    """What the language model reads of each clip.

    Args:
        sentences: Action sentences, a row a reading; codes or features of each, or the row of its features
            in the file that `attrs` names.
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
    if column in sentences.attrs:
        return MappedFeatures(Path(sentences.attrs[column]), sentences[column].to_numpy())
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
