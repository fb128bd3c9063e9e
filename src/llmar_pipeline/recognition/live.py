"""Answers while frames come: that of the newest window, one step after the other."""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.segments import (
    Sliding,
    Tell,
    Thresholds,
    Told,
    averaged,
    following,
    window_of,
)
from llmar_pipeline.skeletons.topology import Body

_PEOPLE = 16  # of a window, those seen in most frames: detectors make up new ids, and memory is finite

People = Mapping[Hashable, np.ndarray]
"""Who is seen in one frame: a person's id to the joints, `[joint, coordinate]`, NaN where missing."""


@dataclass(frozen=True)
class Current:
    """What goes on.

    Attributes:
        frame: Frames so far.
        seconds: Since the first frame.
        name: Of the action; None where none is sure enough.
        probability: Of the action in the newest windows, else of the likeliest one; 0 where nobody is seen.
        left_out: Windows so far that were not answered, because a newer one was waiting.
    """

    frame: int
    seconds: float
    name: str | None
    probability: float
    left_out: int

    def __str__(self) -> str:
        return f"{self.seconds:8.2f} s {self.probability:7.1%}  {self.name or '(none)'}"


def answers(
    frames: Iterable[np.ndarray | People],
    body: Body,
    sliding: Sliding,
    thresholds: Thresholds,
    tell: Tell,
    behind: Callable[[], bool] = lambda: False,
    vertical: Literal["up", "down"] = "up",
) -> Iterator[Current]:
    """What goes on at the end of each window, by the windows and thresholds of `find_segments`.

    Args:
        frames: As they come, arrays `[person, joint, coordinate]` with NaN where missing, or `People` where
            persons have ids; an end before the first window is full is answered from what there is.
        body: What the model works on.
        sliding: Where the windows are.
        thresholds: When an action begins and ends.
        tell: Recognises them.
        behind: Whether a newer window is waiting: then this one is left out.
        vertical: The way y grows.

    Yields:
        An answer a window, of those that are not left out.

    Raises:
        UserError: A frame is no array of such joints.

    Source: ours.
    """
    recent: deque[People] = deque(maxlen=sliding.window)
    told: deque[tuple[int, Told | None]] = deque()
    name: str | None = None
    number = left_out = 0

    def current() -> Current:
        nonlocal name
        told.append((number, _told(recent, body, tell, f"frame {number}", vertical)))
        while told[0][0] <= number - sliding.averaged * sliding.step:
            told.popleft()
        chances = averaged([one for _, one in told])
        name = following(name, chances, thresholds)
        probability = max(chances.values(), default=0.0) if name is None else chances.get(name, 0.0)
        return Current(number, number / sliding.fps, name, probability, left_out)

    for people in frames:
        number += 1
        recent.append(_people(people, body, number))
        if number >= sliding.window and (number - sliding.window) % sliding.step == 0:
            if behind():
                left_out += 1
            else:
                yield current()
    if 0 < number < sliding.window:
        yield current()


def changes(current: Iterable[Current]) -> Iterator[Current]:
    """The first answer, and each whose action is another than that before."""
    name: object = ...
    for one in current:
        if one.name != name:
            name = one.name
            yield one


def _people(frame: np.ndarray | People, body: Body, number: int) -> People:
    wanted = [len(body.topology.joints), body.topology.coordinates]
    ids, persons = (list(frame), list(frame.values())) if isinstance(frame, Mapping) else (None, frame)
    if ids == []:
        return {}
    try:
        data = np.asarray(persons)
    except ValueError:  # persons of different shapes
        data = np.empty(0)
    if (
        data.ndim != 3
        or list(data.shape[1:]) != wanted
        or data.dtype.kind not in "fiu"
        or np.isinf(data).any()
    ):
        raise UserError(
            f"frame {number}: expected numbers [person, {wanted[0]}, {wanted[1]}], NaN for a missing joint, "
            f"saw {data.dtype} {list(data.shape)}; correct it"
        )
    return dict(zip(range(len(data)) if ids is None else ids, data, strict=True))


def _told(
    recent: deque[People], body: Body, tell: Tell, name: str, vertical: Literal["up", "down"]
) -> Told | None:
    """What is told of the window; None where nobody is seen."""
    seen = Counter(person for people in recent for person in people)
    most = min(_PEOPLE, max(len(recent), 2))  # of more persons than frames a sequence would be none
    rows = {person: row for row, (person, _) in enumerate(seen.most_common(most))}
    topology = body.topology
    shape = (max(len(rows), 1), len(recent), len(topology.joints), topology.coordinates)
    data = np.full(shape, np.nan)
    for frame, people in enumerate(recent):
        for person, joints in people.items():
            if person in rows:
                data[rows[person], frame] = joints
    window = window_of(data, body, name, vertical)
    return None if window is None else next(iter(tell([window])))
