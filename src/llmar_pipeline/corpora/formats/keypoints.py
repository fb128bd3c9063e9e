"""Arrays of keypoints, as detectors write them, to sequences."""

from typing import Literal

import numpy as np

from llmar_pipeline.skeletons.sequence import SeenBody, Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

_MARKS = (0, -1)
"""Values of all coordinates by which detectors say that they did not see a joint."""


def to_sequence(
    name: str,
    keypoints: np.ndarray,
    scores: np.ndarray | None,
    topology: Topology,
    persons: int | None,
    vertical: Literal["up", "down"],
    ranked: bool = True,
) -> Sequence:
    """Checks keypoints and brings them to the form of a sequence.

    A joint is missing where a coordinate is NaN, where its score is not above 0, or where all its coordinates
    are 0 or -1: nobody's joint lies exactly there but the one that a recording is centred on. Persons who are
    never seen go; of more persons than `persons`, those seen in most frames stay; of equals, those who move
    most; of equals still, those furthest left. In that order, not that of the file, they become actor 1, 2
    and so on.

    Args:
        name: The clip's name.
        keypoints: `[person, frame, joint, coordinate]`, or `[frame, joint, coordinate]` of one person.
        scores: `[person, frame, joint]` or `[frame, joint]`, any scale on which 0 and what is below say "not
            detected"; None where the detector gives none.
        topology: The joints they must have.
        persons: Persons to keep at most; None keeps all who are seen, and `bodies` are in their order.
        vertical: The way y grows in the file. Where it grows down, 2D keypoints get the opposite y, and 3D
            ones make a half turn about z, which keeps left and right what they are.
        ranked: False leaves those who stay in the order of the file.

    Returns:
        The sequence; its remark says how many joints are missing by their place or a score below 0.

    Raises:
        SkeletonFileError: If they have another shape, a number that float32 cannot hold, or show nobody.

    Source: ours.
    """
    joints, coordinates = len(topology.joints), topology.coordinates
    if keypoints.ndim == 3:
        keypoints, scores = keypoints[None], None if scores is None else scores[None]
    if keypoints.ndim != 4 or keypoints.shape[2:] != (joints, coordinates) or 0 in keypoints.shape:
        raise SkeletonFileError(
            f"keypoints [person, frame, {joints}, {coordinates}] or [frame, {joints}, {coordinates}], "
            f"the joints of {topology.name}",
            f"shape {list(keypoints.shape)}{advice(keypoints.shape, topology)}",
        )
    if keypoints.shape[0] > max(keypoints.shape[1], 2):
        raise SkeletonFileError(
            f"the axes [person, frame, joint, coordinate] in this order, {_SWAP}",
            f"shape {list(keypoints.shape)}, more persons than frames",
        )
    if scores is not None and scores.shape != keypoints.shape[:3]:
        expected, seen = list(keypoints.shape[:3]), list(scores.shape)
        raise SkeletonFileError(f"scores {expected}, one for each keypoint", f"shape {seen}")
    with np.errstate(over="ignore"):
        data = keypoints.astype(np.float32)
    if np.isinf(data).any():
        person, frame, joint, coordinate = np.argwhere(np.isinf(data))[0]
        raise SkeletonFileError(
            "coordinates that are numbers, or NaN for a missing joint",
            f"{keypoints[person, frame, joint, coordinate]} in person {person}, frame {frame} (counted from "
            f"0), joint {topology.joints[joint]}",
        )
    missing = np.asarray(np.isnan(data).any(axis=-1))
    remarks = []
    for reason, absent in (
        ("at 0, 0 or -1, -1", _marked(data)),
        ("with a score below 0", np.zeros_like(missing) if scores is None else scores < 0),
    ):
        if (absent & ~missing).any():
            remarks.append(f"{(absent & ~missing).sum()} of {missing.size} joints {reason}: taken as missing")
        missing |= absent
    if scores is not None:
        missing |= np.isnan(scores) | (scores == 0)
    if missing.all():
        raise SkeletonFileError("at least one keypoint that is not missing", "; ".join(remarks) or "none")
    data[missing] = np.nan
    if vertical == "down":
        data[..., slice(2) if coordinates == 3 else 1] *= -1
    kept, bodies = _select(data, ~missing, persons, ranked)
    return Sequence(name, data[kept], bodies, "; ".join(remarks))


_SWAP = "or swapaxes(0, 1) where frames come first"


def advice(shape: tuple[int, ...], topology: Topology) -> str:
    """What an array of the wrong shape may be, in brackets, and the way out; empty where it is not clear."""
    joints, coordinates = len(topology.joints), topology.coordinates
    hints: dict[tuple[int, ...], str] = {
        (joints, 2): "2D: say coordinates: 2 in corpus.yml",
        (joints, coordinates + 1): "a score last? It goes into an array of its own, scores",
        (coordinates, joints): "the last two axes swapped",
    }
    if coordinates == 2:
        hints[joints, 3] = "x, y, score? Scores go into an array of their own; of 3D, say coordinates: 3"
    hint = hints.get(shape[-2:], "")
    if len(shape) == 4 and (shape[0], shape[2]) == (coordinates, joints):
        hint = "[coordinate, frame, joint, person]? transpose(3, 1, 2, 0)"
    if len(shape) == 2 and shape[1] in (joints * coordinates, joints * (coordinates + 1)):
        hint = "all joints of a frame in one row? reshape to [frame, joint, coordinate]"
    return f" ({hint})" if hint else ""


def _marked(data: np.ndarray) -> np.ndarray:
    """Joints whose place says that they were not seen, `[person, frame, joint]`."""
    at = [(data == mark).all(axis=-1) for mark in _MARKS]
    marked: np.ndarray = np.logical_or(*at)
    seen = ~(marked | np.isnan(data).any(axis=-1)).all(axis=2, keepdims=True)
    always = (at[0] | ~seen).all(axis=1) & seen.any(axis=1)
    points = data[~(marked | np.isnan(data).any(axis=-1))]
    if always.any() and len(points) and (points.min(axis=0) < 0).all() and (points.max(axis=0) > 0).all():
        # All else lies about one joint: the recording is centred on it.
        marked &= ~((always & (always.sum(axis=1, keepdims=True) == 1))[:, None] & seen)
    return marked


def _select(
    data: np.ndarray, observed: np.ndarray, persons: int | None, ranked: bool
) -> tuple[list[int], tuple[SeenBody, ...]]:
    """Who stays, and what became of each; `observed` is `[person, frame, joint]`."""
    frames = observed.any(axis=2).sum(axis=1).tolist()
    seen = [person for person, count in enumerate(frames) if count]
    if len(seen) == 1 and persons is not None:
        return seen, ()
    motion = {person: float(data[person][observed[person]].var(axis=0).sum()) for person in seen}
    left = {person: float(data[person][observed[person]][:, 0].mean()) for person in seen}
    kept = sorted(seen, key=lambda person: (-frames[person], -motion[person], left[person], person))[:persons]
    kept = kept if ranked else sorted(kept)
    dropped = f"dropped: {len(kept)} other{'s' * (len(kept) > 1)} seen in more frames, or moving more"
    decisions = dict.fromkeys(seen, dropped) | {
        person: f"actor {number}" for number, person in enumerate(kept, start=1)
    }
    return kept, tuple(
        SeenBody(str(person + 1), frames[person], motion[person], decisions[person])
        for person in (kept if persons is None else seen)
    )
