"""Arrays of keypoints, as detectors write them, to sequences."""

from typing import Literal

import numpy as np

from llmar_pipeline.skeletons.sequence import SeenBody, Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology


def to_sequence(
    name: str,
    keypoints: np.ndarray,
    scores: np.ndarray | None,
    topology: Topology,
    persons: int,
    vertical: Literal["up", "down"],
    ranked: bool = True,
) -> Sequence:
    """Checks keypoints and brings them to the form of a sequence.

    A joint is missing where a coordinate is NaN or its score is 0 or NaN. Persons who are never seen go; of
    more persons than `persons`, those seen in most frames stay; of equals, those who move most; of equals
    still, those furthest left. In that order, not that of the file, they become actor 1, 2 and so on.

    Args:
        name: The clip's name.
        keypoints: `[person, frame, joint, coordinate]`, or `[frame, joint, coordinate]` of one person.
        scores: `[person, frame, joint]` or `[frame, joint]`, any scale on which 0 says "not detected"; None
            where the detector gives none.
        topology: The joints they must have.
        persons: Persons to keep at most.
        vertical: The way y grows in the file. Where it grows down, 2D keypoints get the opposite y, and 3D
            ones make a half turn about z, which keeps left and right what they are.
        ranked: False leaves those who stay in the order of the file.

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
            f"shape {list(keypoints.shape)}",
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
    if scores is not None:
        missing |= np.isnan(scores) | (scores == 0)
    if missing.all():
        raise SkeletonFileError("at least one keypoint that is not missing", "none")
    data[missing] = np.nan
    if vertical == "down":
        data[..., slice(2) if coordinates == 3 else 1] *= -1
    kept, bodies = _select(data, ~missing, persons, ranked)
    return Sequence(name, data[kept], bodies)


def _select(
    data: np.ndarray, observed: np.ndarray, persons: int, ranked: bool
) -> tuple[list[int], tuple[SeenBody, ...]]:
    """Who stays, and what became of each; `observed` is `[person, frame, joint]`."""
    frames = observed.any(axis=2).sum(axis=1).tolist()
    seen = [person for person, count in enumerate(frames) if count]
    if len(seen) == 1:
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
        SeenBody(str(person + 1), frames[person], motion[person], decisions[person]) for person in seen
    )
