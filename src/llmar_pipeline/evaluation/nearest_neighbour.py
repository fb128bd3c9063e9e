"""Nearest neighbour: what is reached without learning, by the training clip whose joints move most alike."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from llmar_pipeline.evaluation.baselines import answer_table, answerable, drawn_to_fit
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.vqvae.windows import plain_windows

_AT_ONCE = 256  # clips


def nearest_neighbour(sequences: Path, splits: pd.DataFrame, frames: int, seed: int = 0) -> pd.DataFrame:
    """Answer each test clip with the class of the training clip that is nearest to it.

    Both are resampled to as many frames and laid into a box, each axis of a clip from its lowest value to its
    highest, so that neither where a body stands nor how tall it is counts; what is missing is zero. The
    distance is Euclidean, over all persons, frames, joints and coordinates. Of more than `MOST_FITTED`
    training clips so many are drawn.

    Args:
        sequences: Folder of the normalised store.
        splits: Columns name, split, action.
        frames: Of a window.
        seed: Of the clips that are drawn.

    Returns:
        `name`, `true`, `predicted`, one row a test clip; no row where no class is trained and tested.

    Source: ours; boxes are the field's on NW-UCLA.
    """
    train, test = (splits[splits["split"] == part] for part in ("train", "test"))
    if not answerable(train, test):
        return answer_table(test[:0], [])
    train, store = drawn_to_fit(train, seed), SequenceStore.open(sequences)
    device = processes.device()

    def boxed(clips: pd.DataFrame) -> Iterator[Tensor]:
        windows = plain_windows(store, clips["name"].tolist(), device, frames, "box", at_once=_AT_ONCE)
        return (motion.flatten(1) for motion, _ in windows)

    known = torch.empty(len(train), frames * store.body.channels, device=device)
    lengths = torch.empty(len(train), device=device)
    for first, some in enumerate(boxed(train)):
        rows = slice(first * _AT_ONCE, first * _AT_ONCE + len(some))
        known[rows], lengths[rows] = some, some.square().sum(1)
    # Squares of the distances, less what is the same for all of a clip; in one place, as memory that is
    # taken anew for every batch is not all given back between them.
    gaps = torch.empty(_AT_ONCE, len(train), device=device)
    nearest = torch.empty(len(test), dtype=torch.int64)
    for first, asked in enumerate(boxed(test)):
        torch.addmm(lengths, asked, known.T, alpha=-2, out=gaps[: len(asked)])
        nearest[first * _AT_ONCE : first * _AT_ONCE + len(asked)] = gaps[: len(asked)].argmin(1)
    return answer_table(test, train["action"].to_numpy()[nearest.numpy()].tolist())
