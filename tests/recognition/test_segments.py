"""Windows, thresholds and segments, worked out by hand."""

import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.segments import (
    Segment,
    Sliding,
    Thresholds,
    averaged,
    find_segments,
    following,
    merged,
    window_of,
)
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.topology import NTU25, Body

BODY = Body(NTU25, 2)
RNG = np.random.default_rng(0)


def person(frames: int) -> np.ndarray:
    return RNG.normal(size=(1, frames, 25, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("frames", "starts", "cuts"),
    [
        (4, [0], [0, 4]),  # shorter than a window
        (8, [0], [0, 8]),
        (9, [0], [0, 9]),  # of a whole step there is too little
        (10, [0, 2], [0, 4, 10]),  # the middle of the first window is 4, that of both 5
        (15, [0, 2, 4, 6], [0, 4, 5, 6, 15]),
        (20, [0, 2, 4, 6, 8, 10, 12], [0, 4, 5, 6, 8, 10, 12, 20]),  # from the fifth on, of four windows
        (1, [0], [0, 1]),
    ],
)
def test_windows_and_the_frames_that_they_speak_for(frames, starts, cuts):
    sliding = Sliding(fps=10, window=8, step=2)
    assert list(sliding.starts(frames)) == starts
    assert sliding.cuts(frames) == cuts


def test_windows_in_seconds_are_those_of_the_frame_rate():
    assert Sliding.of_seconds(30, 2, 0.5) == Sliding(30, 60, 15)
    assert Sliding.of_seconds(12.5, 2, 0.5) == Sliding(12.5, 25, 6)
    assert Sliding.of_seconds(1, 0.2, 0.1) == Sliding(1, 1, 1)


@pytest.mark.parametrize(
    "values", [(0, 2, 1), (-30, 2, 1), (float("nan"), 2, 1), (30, 1, 2), (30, 2, 0), (1e308, 1, 1)]
)
def test_windows_that_make_no_sense_are_refused(values):
    with pytest.raises(UserError, match=r"expected a frame rate above 0, .* saw fps="):
        Sliding.of_seconds(*values)


@pytest.mark.parametrize(("enter", "leave"), [(0.4, 0.6), (1.1, 0.5), (0.5, 0)])
def test_thresholds_that_make_no_sense_are_refused(enter, leave):
    with pytest.raises(UserError, match="expected thresholds 0 < exit <= enter <= 1, saw"):
        Thresholds(enter, leave)


def test_an_action_begins_at_one_threshold_and_ends_at_the_other():
    told = [
        {"a": 0.5, "b": 0.3},  # not sure enough
        {"a": 0.6, "b": 0.4},  # begins
        {"b": 0.59, "a": 0.41},  # another is likelier, and it goes on all the same
        {"a": 0.4, "b": 0.3},
        {"a": 0.39, "b": 0.5},  # ends, and the other is not sure enough
        {"b": 0.9, "a": 0.1},
        {},
        {"b": 0.5},
        {"a": 0.8},
        {"b": 0.7},  # `a` is not among the likeliest: at once another
    ]
    names, name = [], None
    for one in told:
        name = following(name, one, Thresholds(0.6, 0.4))
        names.append(name)
    assert names == [None, "a", "a", "a", None, "b", None, None, "a", "b"]


def test_without_the_second_threshold_answers_flicker():
    told = [{"a": p, "b": 1 - p} for p in (0.65, 0.55, 0.65, 0.55, 0.65)]
    assert len(merged(told, 20, Sliding(10, 4, 4), Thresholds(0.6, 0.6))) == 3
    (one,) = merged(told, 20, Sliding(10, 4, 4), Thresholds(0.6, 0.4))
    assert (one.begin, one.end) == (0, 20)
    assert one.probability == pytest.approx((3 * 0.65 + 2 * 0.55) / 5)


def test_the_mean_of_windows():
    mean = averaged([{"a": 0.9, "b": 0.1}, None, {"b": 0.6}])
    assert mean == pytest.approx({"a": 0.3, "b": 0.7 / 3})
    assert averaged([None]) == {}
    assert [Sliding(30, 45, step).averaged for step in (5, 15, 30, 45)] == [9, 3, 2, 1]


def test_one_odd_window_is_outvoted():
    told = [{"a": 0.9}, {"a": 0.9}, {"b": 0.9}, {"a": 0.9}, {"a": 0.9}]
    (one,) = merged(told, 28, Sliding(10, 12, 4), Thresholds(0.5, 0.5))
    assert (one.name, one.begin, one.end) == ("a", 0, 28)
    assert one.probability == pytest.approx((0.9 + 0.9 + 3 * 0.6) / 5)


def test_segments_in_frames_and_seconds():
    sliding, thresholds = Sliding(fps=10, window=8, step=8), Thresholds(0.6, 0.4)
    told = [{"a": 0.9}, {"a": 0.7}, {"b": 0.5}, {"b": 0.8}]
    first, second = merged(told, 34, sliding, thresholds)
    assert (first.name, first.begin, first.end, first.probability) == ("a", 0, 16, pytest.approx(0.8))
    assert (second.name, second.begin, second.end, second.probability) == ("b", 24, 34, 0.8)
    assert (second.begin_s, second.end_s) == (2.4, 3.4)
    assert str(second) == "    2.40 -     3.40 s   80.0%  b"
    assert str(Segment("c", 1, 0, 30, 30, 3)).endswith("  c x 3")
    assert merged([None, {"a": 0.5}], 16, sliding, thresholds) == []


def by_height(windows):
    """Where the first joint of a window is high, it is a jump."""
    for window in windows:
        high = float(np.nanmean(window.data[0, :, 0, 1]) > 5)
        yield {"jump": 0.9 * high, "stand": 0.9 * (1 - high)}


def test_a_recording_with_a_gap():
    data = person(60)
    data[:, 20:40] = np.nan
    data[:, 40:, 0, 1] = 10
    first, second = find_segments(Sequence("x", data), BODY, Sliding(10, 8, 4), Thresholds(), by_height)
    # The window from frame 16 on sees four of its eight frames, those from 20 to 32 on none, that from 36 on
    # four. Of two windows one is enough: the mean of those from 16 and 20 on is in the middle at 22, the next
    # at 26; of those from 28 and 32 on at 34, the next at 38.
    assert (first.name, first.begin, first.end) == ("stand", 0, 24)
    assert (second.name, second.begin, second.end) == ("jump", 36, 60)


@pytest.mark.parametrize("frames", [1, 5, 8])
def test_a_recording_of_one_window_or_less_is_one_segment(frames):
    (one,) = find_segments(Sequence("x", person(frames)), BODY, Sliding(10, 8, 4), Thresholds(), by_height)
    assert (one.name, one.begin, one.end, one.repetitions) == ("stand", 0, frames, 1)


def test_a_recording_of_nobody_has_no_segments():
    data = np.full((1, 20, 25, 3), np.nan, np.float32)
    assert find_segments(Sequence("x", data), BODY, Sliding(10, 8, 4), Thresholds(), by_height) == []


def test_people_of_a_window_are_chosen_as_those_of_a_recording():
    data = np.full((4, 10, 25, 3), np.nan, np.float32)
    data[1, :3], data[2], data[3, :9] = person(3), person(10), person(9)
    window = window_of(data, BODY, "x")
    np.testing.assert_array_equal(window.data, data[[2, 3]])
    assert window_of(data[:2, :7], BODY, "x") is None  # seen in three frames of seven
    assert window_of(data[:2, :6], BODY, "x").data.shape == (1, 6, 25, 3)
    assert window_of(data[:1], BODY, "x") is None
