"""Frames as a detector sends them, one JSON object each; docs/live.md describes them."""

import json
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from llmar_pipeline.corpora.formats.nested_lists import read_nested
from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.live import People
from llmar_pipeline.skeletons.sequence import SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

LARGEST = 2**20
"""Bytes of a frame."""

_KEYS = ("keypoints", "ids", "scores", "time")
_LATEST = 1e12  # seconds
_FARTHEST = float(np.finfo(np.float32).max)


class Frame(NamedTuple):
    """One frame.

    Attributes:
        people: Who is seen.
        time: Seconds, from any beginning; None where the sender has no clock.
    """

    people: People
    time: float | None


def read_frame(line: bytes, topology: Topology) -> Frame:
    """Read one frame.

    Args:
        line: JSON with `keypoints` [person][joint][coordinate], or [joint][coordinate] of one person; and if
            need be `ids` and `scores` of the same people, and `time`.
        topology: The joints it must have.

    Raises:
        UserError: It is something else.

    Source: ours.
    """
    try:
        return _frame(line, topology)
    except SkeletonFileError as error:
        raise UserError(
            f"expected {error.expected}, saw {error.seen}; send frames as docs/live.md describes them"
        ) from error


def _frame(line: bytes, topology: Topology) -> Frame:
    if len(line) > LARGEST:
        raise SkeletonFileError(f"a frame of at most {LARGEST} bytes", "a longer one")
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:  # text that is no UTF-8 too
        raise SkeletonFileError("a frame as a JSON object", " ".join(str(error).split())[:100]) from error
    if not isinstance(content, dict) or "keypoints" not in content or not set(content) <= set(_KEYS):
        seen = f"the keys {sorted(content)[:6]}" if isinstance(content, dict) else type(content).__name__
        raise SkeletonFileError("an object with keypoints, and if need be ids, scores, time", seen[:100])
    time = content.get("time")
    if time is not None and not (type(time) in (int, float) and abs(time) < _LATEST):
        raise SkeletonFileError("time as seconds", repr(time)[:40])
    joints = _joints(content["keypoints"], topology)
    scores = content.get("scores")
    if scores is not None and joints.size:
        given = read_nested(scores, "scores", ("person", "joint"))
        given = given[None] if given.ndim == 1 else given
        if given.shape != joints.shape[:2]:
            shapes = f"{list(joints.shape[:2])}", f"{list(given.shape)}"
            raise SkeletonFileError(f"scores {shapes[0]}, one for each joint", shapes[1])
        joints[~(given > 0)] = np.nan
    return Frame(dict(zip(_ids(content.get("ids"), len(joints)), joints, strict=True)), time)


def _joints(keypoints: Any, topology: Topology) -> np.ndarray:
    """`[person, joint, coordinate]`, NaN where missing."""
    wanted = (len(topology.joints), topology.coordinates)
    if keypoints in ([], None):
        return np.empty((0, *wanted))
    joints = read_nested(keypoints, "keypoints", ("person", "joint", "coordinate"))
    joints = joints[None] if joints.ndim == 2 else joints
    if joints.ndim != 3 or joints.shape[1:] != wanted:
        expected = f"keypoints [person, {wanted[0]}, {wanted[1]}], the joints of {topology.name}"
        raise SkeletonFileError(expected, f"shape {list(joints.shape)}")
    if (np.abs(joints) > _FARTHEST).any():
        raise SkeletonFileError("coordinates that are numbers, or null for a missing joint", "one too large")
    joints[np.isnan(joints).any(axis=-1)] = np.nan
    return joints


def _ids(ids: Any, people: int) -> list[Hashable]:
    """Who the people are; without ids, by their place."""
    if ids is None:
        return list(range(people))
    named = isinstance(ids, list) and all(type(one) in (int, str) for one in ids)
    if not named or len(ids) != people or len(set(ids)) != people:
        raise SkeletonFileError(f"{people} different ids, numbers or text", repr(ids)[:60])
    return list(ids)


def in_time(frames: Iterable[Frame], fps: float, longest: int) -> Iterator[People]:
    """Frames at the rate of the windows: where none came in time, nobody is seen.

    Frames without a time follow one another. Of two at the same place the first counts. Where the clock goes
    back by more than `longest` frames, it was set anew.

    Args:
        frames: As they come.
        fps: Frames a second.
        longest: Most empty frames for a gap.

    Source: ours.
    """
    begin: float | None = None
    last = -1
    for frame in frames:
        if frame.time is None:
            yield frame.people
            continue
        if begin is None or (frame.time - begin) * fps < last - longest:
            begin, last = frame.time, -1
        place = round((frame.time - begin) * fps)
        if place <= last:
            continue
        for _ in range(min(place - last - 1, longest)):
            yield {}
        last = place
        yield frame.people
