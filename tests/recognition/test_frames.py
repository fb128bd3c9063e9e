"""Frames as a detector sends them: read, refused with a reason, and put in time."""

import json

import numpy as np
import pytest

from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.frames import LARGEST, Frame, in_time, read_frame
from llmar_pipeline.skeletons.topology import COCO17, NTU25

BODY = np.arange(75.0).reshape(25, 3).tolist()
OTHER = (np.arange(75.0).reshape(25, 3) + 100).tolist()


def line(**content) -> bytes:
    return json.dumps(content).encode()


def test_people_by_their_place_or_their_ids():
    frame = read_frame(line(keypoints=[BODY, OTHER]), NTU25)
    assert (list(frame.people), frame.time) == ([0, 1], None)
    np.testing.assert_array_equal(frame.people[1], OTHER)
    frame = read_frame(line(keypoints=[BODY, OTHER], ids=["anna", 7], time=1.5), NTU25)
    assert (list(frame.people), frame.time) == (["anna", 7], 1.5)
    frame = read_frame(line(keypoints=BODY), NTU25)  # of one person
    np.testing.assert_array_equal(frame.people[0], BODY)


@pytest.mark.parametrize("nobody", [[], None])
def test_a_frame_may_show_nobody(nobody):
    assert read_frame(line(keypoints=nobody, ids=[], scores=[]), NTU25) == Frame({}, None)


def test_what_is_missing():
    body = [*BODY[:3], None, [1, None, 3], *BODY[5:]]
    people = read_frame(line(keypoints=[body], scores=[[0, -1, *[0.5] * 23]]), NTU25).people
    assert np.flatnonzero(np.isnan(people[0]).all(axis=1)).tolist() == [0, 1, 3, 4]
    assert np.isnan(people[0]).any(axis=1).sum() == 4
    image = np.ones((17, 2)).tolist()
    assert np.isnan(read_frame(line(keypoints=image, scores=[0] * 17), COCO17).people[0]).all()


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"not json", "expected a frame as a JSON object, saw Expecting value"),
        (b"\xff\xfe", "expected a frame as a JSON object, saw"),
        (b"[" * 100_000, "expected a frame as a JSON object, saw"),
        (b"[1]", "expected an object with keypoints, .* saw list"),
        (b"{}", "an object with keypoints"),
        (line(keypoints=[BODY], score=[1]), r"saw the keys \['keypoints', 'score'\]"),
        (
            line(keypoints=[BODY[:20]]),
            r"keypoints \[person, 25, 3\], the joints of ntu25, saw shape \[1, 20, 3\]",
        ),
        (line(keypoints=[[joint[:2] for joint in BODY]]), r"saw shape \[1, 25, 2\]"),
        (line(keypoints=[BODY, BODY[:3]]), "keypoints with 25 values in each list"),
        (line(keypoints=[[["x"] * 3] * 25]), "lists of numbers or null"),
        (line(keypoints=5), "keypoints"),
        (b'{"keypoints": [' + json.dumps([[1e39, 0, 0]] * 25).encode() + b"]}", "one too large"),
        (b'{"keypoints": [' + json.dumps([[float("inf"), 0, 0]] * 25).encode() + b"]}", "one too large"),
        (line(keypoints=[BODY], ids=[1, 2]), "1 different ids"),
        (line(keypoints=[BODY, OTHER], ids=[1, 1]), "2 different ids"),
        (line(keypoints=[BODY], ids=[[1]]), "different ids, numbers or text"),
        (line(keypoints=[BODY], scores=[[1] * 20]), r"scores \[1, 25\], one for each joint, saw \[1, 20\]"),
        (line(keypoints=[BODY], time="now"), "time as seconds, saw 'now'"),
        (line(keypoints=[BODY], time=True), "time as seconds"),
        (line(keypoints=[BODY], time=float("nan")), "time as seconds"),
        (line(keypoints=[BODY], time=1e300), "time as seconds"),
        (b" " * (LARGEST + 1), "at most"),
    ],
    ids=str,
)
def test_what_is_no_frame_is_refused_in_one_line(sent, seen):
    with pytest.raises(UserError, match=seen) as caught:
        read_frame(sent, NTU25)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 350


def placed(*times, fps=10, longest=5):
    people = in_time([Frame({n: BODY}, time) for n, time in enumerate(times)], fps, longest)
    return [next(iter(one), None) for one in people]


def test_frames_without_a_time_follow_one_another():
    assert placed(None, None, None) == [0, 1, 2]


def test_frames_in_time_leave_gaps_where_none_came():
    assert placed(50, 50.1, 50.2) == [0, 1, 2]
    assert placed(50, 50.31, 50.4) == [0, None, None, 1, 2]
    assert placed(50, 50.02, 50.04, 50.12) == [0, 3]  # faster than the windows' rate
    assert placed(50, 60) == [0, None, None, None, None, None, 1]  # no more than `longest`


def test_a_clock_that_goes_back():
    assert placed(50, 50.1, 50, 50.2) == [0, 1, 3]  # a late frame
    assert placed(50, 50.1, 3, 3.1) == [0, 1, 2, 3]  # it was set anew
