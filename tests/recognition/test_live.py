"""Answers while frames come: those of the same frames as a recording."""

import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.live import Current, answers, changes
from llmar_pipeline.recognition.segments import Sliding, Thresholds, merged, window_of
from llmar_pipeline.skeletons.topology import NTU25, Body

BODY = Body(NTU25, 2)
SLIDING, THRESHOLDS = Sliding(10, 8, 4), Thresholds(0.6, 0.4)


def recording(frames: int, persons: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(persons, frames, 25, 3)).astype(np.float32)
    data[0, :, 0, 1] += 4 * np.sin(np.arange(frames) / 9)
    return data


def by_height(windows):
    for window in windows:
        share = 1 / (1 + np.exp(-float(np.nanmean(window.data[0, :, 0, 1]))))
        yield {"up": share, "down": 1 - share}


def streamed(data, **settings):
    return list(answers(data.swapaxes(0, 1), BODY, SLIDING, THRESHOLDS, by_height, **settings))


@pytest.mark.parametrize("persons", [1, 2])
def test_the_answers_are_those_of_the_recording_window_by_window(persons):
    data = recording(90, persons)
    data[:, 40:55] = np.nan
    current = streamed(data)
    starts = SLIDING.starts(90)
    assert [one.frame for one in current] == [start + 8 for start in starts]
    assert [one.seconds for one in current] == [one.frame / 10 for one in current]
    windows = [window_of(data[:, start : start + 8], BODY, "x") for start in starts]
    told = [None if window is None else next(by_height([window])) for window in windows]
    assert None in told
    cuts = SLIDING.cuts(90)
    segments = merged(told, 90, SLIDING, THRESHOLDS)
    assert len(segments) > 2
    for number, one in enumerate(current):
        at = cuts[number]
        assert [s.name for s in segments if s.begin <= at < s.end] == [one.name] * (one.name is not None)


def test_fewer_frames_than_a_window_are_answered_at_the_end():
    (one,) = streamed(recording(3))
    assert (one.frame, one.left_out) == (3, 0)
    assert streamed(recording(0)) == []
    assert [one.frame for one in streamed(recording(9))] == [8]


def test_windows_that_are_late_are_left_out_and_counted():
    late = iter([True, True, False, True, False])
    current = streamed(recording(24), behind=lambda: next(late))
    assert [(one.frame, one.left_out) for one in current] == [(16, 2), (24, 3)]


def test_persons_are_known_by_their_ids():
    data = recording(8, 2)
    plain = streamed(data)
    frames = [{"b": people[1], "a": people[0]} for people in data.swapaxes(0, 1)]
    assert list(answers(frames, BODY, SLIDING, THRESHOLDS, by_height)) == plain


def test_a_detector_that_makes_up_ids_costs_no_memory():
    body = recording(1)[0, 0]
    frames = [{100 * frame + person: body for person in range(30)} for frame in range(8)]
    (one,) = answers(frames, BODY, SLIDING, THRESHOLDS, by_height)
    assert one.name is None  # nobody is seen for longer than a frame


def test_y_may_grow_downward():
    data = recording(8)
    down = data * np.array([-1, -1, 1], np.float32)
    assert streamed(down, vertical="down") == streamed(data)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((25, 3)), np.zeros((1, 20, 3)), np.full((1, 25, 3), np.inf), np.full((1, 25, 3), "x")],
)
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(UserError, match=r"frame 2: expected numbers \[person, 25, 3\].*, saw"):
        list(answers([recording(1)[:, 0], frame], BODY, SLIDING, THRESHOLDS, by_height))


def test_news_is_what_changes():
    names = ["a", "a", None, None, "a", "b"]
    current = [Current(n, n / 10, name, 0.5, 0) for n, name in enumerate(names)]
    assert [one.frame for one in changes(current)] == [0, 2, 4, 5]
    assert [one.frame for one in changes(current[2:])] == [2, 4, 5]
    assert str(current[4]) == "    0.40 s   50.0%  a"
    assert str(current[2]) == "    0.20 s   50.0%  (none)"
