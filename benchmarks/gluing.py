"""Recordings glued together from clips, so that it is known what is done when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

GROUP = ["setup", "camera", "subject"]  # of one person before one camera


@dataclass(frozen=True)
class Truth:
    """One clip of a recording: what it shows, its first frame, and the frame behind its last."""

    name: str
    begin: int
    end: int


def glued(clips: Sequence[np.ndarray], root: int) -> np.ndarray:
    """Clips one after the other, each moved over the ground so that person 1 goes on where he or she was.

    Args:
        clips: Each `[person, frame, joint, coordinate]`, y up.
        root: The joint that says where a person is.
    """
    persons, parts, at = max(map(len, clips)), [], None
    for clip in clips:
        absent = np.full((persons - len(clip), *clip.shape[1:]), np.nan, np.float32)
        path = clip[0, :, root][~np.isnan(clip[0, :, root]).any(axis=-1)]
        offset = np.zeros(clip.shape[-1], np.float32) if at is None else at - path[0]
        offset[1] = 0
        parts.append(np.concatenate([clip + offset, absent]))
        at = path[-1] + offset
    return np.concatenate(parts, axis=1)


def plans(table: pd.DataFrame, clips: int, seed: int) -> Iterator[list[str]]:
    """Which clips make a recording: of one person and camera, no two of one action in a row.

    Args:
        table: Columns name, action and those of `GROUP` that the corpus has.
        clips: Of a recording.
        seed: Of their order.
    """
    rng = np.random.default_rng(seed)
    for _, group in table.groupby([column for column in GROUP if column in table]):
        waiting = group.iloc[rng.permutation(len(group))][["name", "action"]].values.tolist()
        plan: list[list[str]] = []
        for name, action in waiting:
            if not plan or plan[-1][1] != action:
                plan.append([name, action])
            if len(plan) == clips:
                yield [one for one, _ in plan]
                plan = []


def frame_accuracy(truth: Sequence[Truth], found: Sequence[Truth]) -> float:
    """Share of frames that bear their action's name; no name is wrong."""
    names = [np.full(truth[-1].end, "", object) for _ in range(2)]
    for told, segments in zip(names, (truth, found), strict=True):
        for one in segments:
            told[one.begin : one.end] = one.name
    return float((names[0] == names[1]).mean())


def matched(truth: Sequence[Truth], found: Sequence[Truth], overlap: float) -> int:
    """How many found segments are right: of a true one's action, and on it by `overlap` at least.

    A segment's overlap is the frames that both have, over those that either has. Each true segment counts
    once.

    Source: the F1@k of Lea et al. (2017), "Temporal Convolutional Networks for Action Segmentation".
    """
    left, right = list(truth), 0
    for one in found:

        def shared(other: Truth, one: Truth = one) -> float:
            both = min(one.end, other.end) - max(one.begin, other.begin)
            either = max(one.end, other.end) - min(one.begin, other.begin)
            return both / either if one.name == other.name else 0.0

        best = max(left, key=shared, default=None)
        if best is not None and shared(best) >= overlap:
            left.remove(best)
            right += 1
    return right


def f1(right: int, truths: int, found: int) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * right / (truths + found) if truths + found else 0.0
