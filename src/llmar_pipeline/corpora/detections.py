"""Who acts, of the people that a pose estimator found: it names nobody and may find too many."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmar_pipeline.skeletons.sequence import SeenBody


@dataclass(frozen=True, eq=False)
class Track:
    """One person over time.

    Attributes:
        name: What the report calls the person.
        frames: The frames that show the person, ascending.
        joints: The person there, `[frame, joint, coordinate]`; NaN where a joint is missing.
    """

    name: str
    frames: np.ndarray
    joints: np.ndarray


def spread(track: Track) -> float:
    """Standard deviation of a person's joints over all frames, summed over the coordinates.

    Source: the official code of UAV-Human (`get_nonzero_std`), used for Toyota Smarthome as well. Joints
        that are missing count as points at 0, 0 there; here they do not count.
    """
    return float(np.sqrt(_variance(track)).sum())


def follow(frames: list[np.ndarray]) -> list[Track]:
    """Keeps people apart from frame to frame.

    A person continues the track that was last seen nearest (by the mean of the joints; the closest pair is
    matched first). Nobody opens a new track while an old one is free: there are as many tracks as people
    in the fullest frame, and a person who is lost and found again stays the same.

    Args:
        frames: The people in each frame, in any order, `[person, joint, coordinate]`.

    Returns:
        The tracks, in order of appearance.

    Source: ours.
    """
    seen: list[list[int]] = []
    joints: list[list[np.ndarray]] = []
    last: list[np.ndarray] = []
    for frame, people in enumerate(frames):
        places = people.mean(axis=1, dtype=np.float64)
        chosen: dict[int, int] = {}  # person -> track
        if last and len(people):
            distances = np.linalg.norm(places[:, None] - np.array(last), axis=-1)
            for pair in np.argsort(distances, axis=None, kind="stable"):
                person, track = divmod(int(pair), len(last))
                if person not in chosen and track not in chosen.values():
                    chosen[person] = track
        for person in range(len(people)):
            if person not in chosen:
                chosen[person] = len(seen)
                seen.append([])
                joints.append([])
                last.append(places[person])
            track = chosen[person]
            seen[track].append(frame)
            joints[track].append(people[person])
            last[track] = places[person]
    return [
        Track(str(number), np.array(at), np.array(bodies))
        for number, (at, bodies) in enumerate(zip(seen, joints, strict=True), start=1)
    ]


def keep_two(
    tracks: list[Track], n_frames: int, rank: Callable[[Track], Any], others: str, everyone: bool = False
) -> tuple[np.ndarray, tuple[SeenBody, ...]]:
    """Makes the first two persons by rank the actors.

    Args:
        tracks: At least one.
        n_frames: Frames of the recording.
        rank: Sorts persons; the highest becomes actor 1, of equals the earlier in the list.
        others: What the report says of the rest.
        everyone: Whether the rest stay as well, behind the actors.

    Returns:
        `[person, frame, joint, coordinate]` with one or two persons, float32, NaN where a person is absent;
        and, where there are several persons, what became of each. Of everyone, as many as there are, and the
        report in their order.
    """
    ranked = sorted(tracks, key=rank, reverse=True)
    actors = ranked[:2]
    kept = ranked if everyone else actors
    data = np.full((len(kept), n_frames, *tracks[0].joints.shape[1:]), np.nan, np.float32)
    for person, track in enumerate(kept):
        data[person, track.frames] = track.joints
    decisions = {id(actor): f"actor {person}" for person, actor in enumerate(actors, start=1)}
    report = tuple(
        SeenBody(
            track.name,
            len(track.frames),
            float(_variance(track).sum()),
            decisions.get(id(track), f"dropped: {others}"),
        )
        for track in (kept if everyone else tracks)
    )
    return data, report if everyone or len(report) > 1 else ()


def _variance(track: Track) -> np.ndarray:
    """`[coordinate]`, over all observed joints of all frames; zero where there are none."""
    points = track.joints[~np.isnan(track.joints).any(axis=-1)].astype(np.float64)
    return points.var(axis=0) if len(points) else np.zeros(track.joints.shape[-1])
