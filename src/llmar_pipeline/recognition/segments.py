"""Which action a long recording shows when: windows that slide over it, and segments of their answers."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import fmean
from typing import Literal

import numpy as np

from llmar_pipeline.corpora.formats.keypoints import to_sequence
from llmar_pipeline.errors import UserError
from llmar_pipeline.progress import Progress
from llmar_pipeline.recognition.repetitions import repetitions
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Body

_SEEN = 0.5  # of a window's frames, from the first that shows somebody to the last: less is no action

NAMES = 5  # of the likeliest are asked for; what is behind them counts as 0

Told = Mapping[str, float]
"""The likeliest names of one window, with their probabilities."""

Tell = Callable[[Iterable[Sequence]], Iterable[Told]]
"""Recognises sequences: what is told of each, in their order."""


_FASTEST, _LONGEST = 10_000, 3_600  # frames a second, seconds


@dataclass(frozen=True)
class Sliding:
    """Windows of one length that begin one step after the other.

    Attributes:
        fps: Frames a second of the recording.
        window: Frames of a window.
        step: Frames from one window to the next.

    Source: ours.
    """

    fps: float
    window: int
    step: int

    @classmethod
    def of_seconds(cls, fps: float, window_s: float, step_s: float) -> "Sliding":
        """Windows that are given in seconds.

        Raises:
            UserError: The frame rate is no positive number, or a step none within a window.
        """
        if not (0 < fps <= _FASTEST and 0 < step_s <= window_s <= _LONGEST):
            raise UserError(
                f"expected a frame rate above 0, at most {_FASTEST:,}, and a step of 0 to 1 window of at "
                f"most {_LONGEST:,} seconds, saw "
                f"fps={fps:g}, window_s={window_s:g}, step_s={step_s:g}; correct them"
            )
        return cls(fps, max(1, round(window_s * fps)), max(1, round(step_s * fps)))

    def starts(self, frames: int) -> range:
        """First frame of every window; one window of all where the recording is shorter."""
        return range(0, max(frames - self.window, 0) + 1, self.step)

    @property
    def averaged(self) -> int:
        """Windows whose mean decides: as many as cover a frame."""
        return max(1, round(self.window / self.step))

    def cuts(self, frames: int) -> list[int]:
        """Where the mean of some windows stops to speak and the next begins: half way between their middles.

        Returns:
            Frames, one more than there are windows; the first mean speaks from the beginning on, the last one
            to the end.
        """
        starts = self.starts(frames)
        first = [starts[max(0, number + 1 - self.averaged)] for number in range(len(starts))]
        middles = [(one + last + self.window) / 2 for one, last in zip(first, starts, strict=True)]
        return [0, *(int((one + other) / 2) for one, other in pairwise(middles)), frames]


@dataclass(frozen=True)
class Thresholds:
    """When an action is taken to begin and to end: two thresholds, so that answers do not flicker.

    Attributes:
        enter: An action begins where its probability is at least this.
        exit: It goes on for as long as its probability is at least this.

    Raises:
        UserError: They are not 0 < exit <= enter <= 1.

    Source: hysteresis thresholding, as of edges (Canny 1986), in time.
    """

    enter: float = 0.4
    exit: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.exit <= self.enter <= 1:
            raise UserError(
                f"expected thresholds 0 < exit <= enter <= 1, saw exit={self.exit:g} and "
                f"enter={self.enter:g}; correct them"
            )


@dataclass(frozen=True)
class Segment:
    """One action in a recording.

    Attributes:
        name: Of the action.
        probability: Its mean probability over the windows of the segment.
        begin: First frame, counted from 0.
        end: The frame behind the last one.
        fps: Frames a second.
        repetitions: How often the action is done, as `recognition.repetitions` counts.
    """

    name: str
    probability: float
    begin: int
    end: int
    fps: float
    repetitions: int = 1

    @property
    def begin_s(self) -> float:
        """Seconds from the recording's first frame."""
        return self.begin / self.fps

    @property
    def end_s(self) -> float:
        """Seconds from the recording's first frame."""
        return self.end / self.fps

    def __str__(self) -> str:
        times = f" x {self.repetitions}" * (self.repetitions > 1)
        return f"{self.begin_s:8.2f} - {self.end_s:8.2f} s {self.probability:7.1%}  {self.name}{times}"


def averaged(told: SequenceOf[Told | None]) -> Told:
    """The mean of what is told of windows; nobody in one of them, or a name that is not told, counts as 0."""
    mean: Counter[str] = Counter()
    for one in told:
        mean.update({name: chance / len(told) for name, chance in (one or {}).items()})
    return mean


def following(name: str | None, chances: Told, thresholds: Thresholds) -> str | None:
    """The action that goes on.

    Args:
        name: That one step before; None for no action.
        chances: The mean of the newest windows.
        thresholds: When an action begins and ends.

    Returns:
        Its name, or None where none is sure enough.

    Source: ours.
    """
    if name is not None and chances.get(name, 0.0) >= thresholds.exit:
        return name
    likeliest = max(chances, key=lambda one: chances[one], default=None)
    return likeliest if likeliest is not None and chances[likeliest] >= thresholds.enter else None


def merged(
    told: SequenceOf[Told | None], frames: int, sliding: Sliding, thresholds: Thresholds
) -> list[Segment]:
    """Segments of what is told of a recording's windows.

    Args:
        told: Of every window of the recording; None where nobody is seen.
        frames: Of the recording.
        sliding: Where its windows are.
        thresholds: When an action begins and ends.

    Returns:
        In the order of time, without overlap; frames of no action are in none.

    Source: ours.
    """
    cuts, segments = sliding.cuts(frames), []
    means: list[Told] = []
    names: list[str | None] = [None]
    for number in range(len(told)):
        means.append(averaged(told[max(0, number + 1 - sliding.averaged) : number + 1]))
        names.append(following(names[-1], means[-1], thresholds))
    for name, group in groupby(range(len(told)), names[1:].__getitem__):
        steps = list(group)
        if name is not None:
            mean = fmean(means[step].get(name, 0.0) for step in steps)
            segments.append(Segment(name, mean, cuts[steps[0]], cuts[steps[-1] + 1], sliding.fps))
    return segments


def find_segments(
    recording: Sequence, body: Body, sliding: Sliding, thresholds: Thresholds, tell: Tell
) -> list[Segment]:
    """The actions of a recording, with their repetitions.

    Args:
        recording: Of any length.
        body: What the model works on.
        sliding: Where the windows are.
        thresholds: When an action begins and ends.
        tell: Recognises them.

    Returns:
        As `merged`.

    Source: ours.
    """
    data, topology = recording.data, body.topology
    cut = [
        window_of(data[:, start : start + sliding.window], body, f"{recording.name}, frame {start}")
        for start in sliding.starts(recording.n_frames)
    ]
    answers = iter(tell(window for window in cut if window is not None))
    with Progress(cut, title="recognising", unit=" windows") as windows:
        told = [None if window is None else next(answers) for window in windows]
    return [
        replace(one, repetitions=repetitions(data[0, one.begin : one.end], topology, sliding.fps))
        for one in merged(told, recording.n_frames, sliding, thresholds)
    ]


def window_of(
    data: np.ndarray, body: Body, name: str, vertical: Literal["up", "down"] = "up"
) -> Sequence | None:
    """The people of one window, chosen and ordered as those of a recording are.

    Args:
        data: `[person, frame, joint, coordinate]`, any number of persons, NaN where missing.
        body: What the model works on.
        name: Of the window.
        vertical: The way y grows.

    Returns:
        A sequence; None where people are seen too briefly for an action.

    Source: ours.
    """
    try:
        sequence = to_sequence(name, data, None, body.topology, body.persons, vertical)
    except SkeletonFileError:  # nobody is seen
        return None
    seen = np.flatnonzero(~np.isnan(sequence.data).any(axis=-1).all(axis=(0, 2)))
    return sequence if seen[-1] + 1 - seen[0] >= _SEEN * data.shape[1] else None
