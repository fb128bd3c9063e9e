"""Test clips as moving skeletons: their frames, small enough to lie in the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from llmar_pipeline.reporting.stick_figures import evenly_spaced, frame_boxes, side_of
from llmar_pipeline.skeletons.store import SequenceStore

SIDE = 240  # of the square that a clip is drawn in
FRAMES = 48  # at most, evenly spaced
SIDES = 3  # of a body: its axis and the two sides; a further person's come behind them


@dataclass(frozen=True)
class GalleryClip:
    """A clip, its answer, and how it moves.

    Attributes:
        name: Its name.
        true: Name of its class.
        predicted: The answer.
        probability: Of the answer.
        right: Whether they are the same.
        frames: Of each frame x and y of each person's joints, one after the other, in a square of `SIDE`;
            None where a joint is missing.
        still: The middle frame, as a path of each side of the bodies.
    """

    name: str
    true: str
    predicted: str
    probability: float
    right: bool
    frames: list[list[int | None]]
    still: list[str]


class Gallery(NamedTuple):
    """Clips of one skeleton.

    Attributes:
        joints: Number of joints.
        bones: (child, parent, side) of each bone, where side is below `SIDES`.
        clips: What is shown.
    """

    joints: int
    bones: list[tuple[int, int, int]]
    clips: list[GalleryClip]


def gallery(chosen: pd.DataFrame, sequences: Path) -> Gallery:
    """Read clips and make them small: seen from the front, few frames, whole numbers.

    Args:
        chosen: A row a clip, as `tables.evenly_chosen` returns them.
        sequences: Folder of the normalised store.

    Source: ours.
    """
    store = SequenceStore.open(sequences)
    topology = store.body.topology
    bones = [(child, parent, side_of(child, topology.mirror)) for child, parent in topology.bones]
    joints, clips = len(topology.joints), []
    for row in chosen.itertuples(index=False):
        frames = _frames(store.by_name(row.name).data[..., :2])
        still = _paths(frames[len(frames) // 2], bones, joints)
        answer = (row.name, row.true, row.predicted, float(row.probability), bool(row.right))
        clips.append(GalleryClip(*answer, frames, still))
    return Gallery(joints, bones, clips)


def _frames(data: np.ndarray) -> list[list[int | None]]:
    """Place [person, frame, joint, 2] in the square, the whole clip at one scale, y down."""
    data = data[~np.isnan(data).all(axis=(1, 2, 3))]
    data = data[:, evenly_spaced(data.shape[1], FRAMES)]
    low, high = frame_boxes(data)
    low, high = low.min(axis=0, initial=np.inf), high.max(axis=0, initial=-np.inf)
    scale = 0.92 * SIDE / max(*(high - low), 1e-6)
    placed = (data - (low + high) / 2) * scale * [1, -1] + SIDE / 2
    flat = placed.swapaxes(0, 1).reshape(placed.shape[1], -1)
    return [[None if np.isnan(value) else round(value) for value in frame] for frame in flat.tolist()]


def _paths(frame: Sequence[int | None], bones: Sequence[tuple[int, int, int]], joints: int) -> list[str]:
    """One frame as SVG paths, as the report's script draws the others."""
    paths = [""] * (2 * SIDES)
    for person in range(len(frame) // (2 * joints)):
        for child, parent, side in bones:
            ends = [2 * (person * joints + joint) for joint in (child, parent)]
            (x, y), (u, v) = (frame[end : end + 2] for end in ends)
            if x is not None and u is not None:
                paths[side + SIDES * min(person, 1)] += f"M{x} {y}L{u} {v}"
    return paths
