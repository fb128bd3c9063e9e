"""Requests: within limits before they are parsed, and refused in one line with the place of what is wrong."""

import base64
import json

import numpy as np
import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.request import (
    Limits,
    TooLargeError,
    check_size,
    parse_request,
    read_recordings,
    request_of,
)
from llmar_pipeline.skeletons.sequence import Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Body

NTU = CORPORA["ntu60"]
BODY = Body(NTU.topology, NTU.persons)
LIMITS = Limits(frames=10)


def read(recording):
    if isinstance(recording, np.ndarray):
        return Sequence("array", recording)
    if recording.read_bytes() == b"damaged":
        raise UserError(f"expected a recording, saw another in {recording}; leave it out")
    return NTU.load(recording, named=False)


def recordings(content, limits=LIMITS):
    return list(read_recordings(request_of(content), read, limits))


def frames(number, person=1):
    return [[[[0.5, 1, None]] * 25] * number] * person


def test_what_is_asked_is_read_with_its_defaults():
    request = parse_request(json.dumps({"inputs": [{"keypoints": frames(2)}]}).encode())
    assert (request.classes, request.params.top_k) == (None, 5)
    [sequence] = read_recordings(request, read, LIMITS)
    assert sequence.data.shape == (1, 2, 25, 3)
    assert sequence.data.dtype == np.float32
    np.testing.assert_array_equal(sequence.data[0, 1, 24], [0.5, 1, np.nan])
    named = {
        "inputs": [{"keypoints": frames(1), "name": "my clip"}],
        "params": {"classes": ["a", "b"], "top_k": 1},
    }
    request = request_of(named)
    assert (request.classes, request.params.top_k) == (("a", "b"), 1)
    assert next(read_recordings(request, read, LIMITS)).name == "my clip"


def test_a_file_is_read_as_its_bytes_and_called_by_its_name(skeleton_text):
    rng = np.random.default_rng(0)
    text = skeleton_text([[("1", rng.normal(size=(25, 3)))] for _ in range(3)])
    content = base64.b64encode(text.encode()).decode()
    [sequence] = recordings({"inputs": [{"file": content, "name": "wave.skeleton"}]})
    assert (sequence.name, sequence.data.shape) == ("wave", (1, 3, 25, 3))


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b"", "expected JSON in UTF-8, saw that reading fails"),
        (b"{", "expected JSON in UTF-8, saw that reading fails"),
        (b'{"inputs": "\xff"}', "codec can't decode byte 0xff"),
        ('{"inputs": []}'.encode("utf-16"), "codec can't decode"),
        (b"[" * 100_000, "lists within lists without end"),
        (b'{"a":' * 100_000, "lists within lists without end"),
        (b'{"inputs": [{"keypoints": [[[[NaN]]]]}]}', "NaN is no number of JSON; null stands for"),
        (b'{"inputs": [{"keypoints": [[[[-Infinity]]]]}]}', "-Infinity is no number of JSON"),
        (b'{"inputs": [{"keypoints": [[[[' + b"9" * 5000 + b"]]]]}]}", "saw that reading fails"),
        (b"[]", "the whole of it is none .*not list"),
        (b"7", "the whole of it is none .*not int"),
        (b"{}", "inputs is none .Field required"),
        (b'{"inputs": []}', "inputs is none .*at least 1 item"),
        (b'{"inputs": [1]}', r"inputs\.0 is none"),
        (b'{"inputs": [{"keypoint": []}]}', r"inputs\.0\.keypoint is none .Extra inputs"),
        (b'{"inputs": [{"keypoints": {}}]}', r"inputs\.0\.keypoints is none .*not dict"),
        (b'{"inputs": [{"file": 7}]}', r"inputs\.0\.file is none .*not int"),
        (b'{"inputs": [{"file": "", "name": "../../x.npz"}]}', r"inputs\.0\.name is none"),
        (b'{"inputs": [{}], "params": {"top_k": 0}}', r"params\.top_k is none .*not int"),
        (b'{"inputs": [{}], "params": {"top_k": "5"}}', r"params\.top_k is none .*not str"),
        (b'{"inputs": [{}], "params": {"top_k": true}}', r"params\.top_k is none .*not bool"),
        (b'{"inputs": [{}], "params": {"classes": "wave"}}', r"params\.classes is none .*not str"),
        (b'{"inputs": [{}], "params": {"classes": [""]}}', r"params\.classes\.0 is none"),
        (b'{"inputs": [{}], "params": {"seed": 1}}', r"params\.seed is none"),
    ],
)  # fmt: skip
def test_what_is_no_request(body, seen):
    with pytest.raises(UserError, match=f"{seen}.*; correct the request") as caught:
        parse_request(body)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("recording", "seen"),
    [
        ({}, "expected keypoints or file, saw none"),
        ({"keypoints": frames(1), "file": ""}, "expected keypoints or file, saw both"),
        ({"keypoints": []}, r"expected a float32 array .* saw float32 \[0\]"),
        ({"keypoints": [[]]}, "expected a float32 array"),
        ({"keypoints": [[[["1.5"]]]]}, "as lists of numbers or null.*saw a str"),
        ({"keypoints": [[[[True]]]]}, "as lists of numbers or null.*saw a bool"),
        ({"keypoints": [[[[1, 2]], [[1]]]]}, "with 2 values in each list.*saw 1"),
        ({"keypoints": [[[[[1]]]]]}, "saw float32 .1, 1, 1, 1, 1."),
        ({"keypoints": [[[[1e20]]]]}, r"expected coordinates within 1e\+06, saw larger ones"),
        ({"file": "AAAA"}, "expected the file's name with its ending"),
        ({"file": "A", "name": "a.npz"}, "expected the file's bytes in base64"),
        ({"file": "ÄÄÄÄ", "name": "a.npz"}, "expected the file's bytes in base64"),
        ({"file": base64.b64encode(b"1\n2\n").decode(), "name": "a.skeleton"}, ", line "),
    ],
)
def test_what_cannot_be_read(recording, seen):
    good = {"keypoints": frames(1)}
    with pytest.raises(UserError, match=rf"^inputs\.1.*{seen}") as caught:
        recordings({"inputs": [good, recording, good]})
    assert "\n" not in caught.value.message


def test_no_place_on_the_server_is_told():
    damaged = {"file": base64.b64encode(b"damaged").decode(), "name": "a.skeleton"}
    with pytest.raises(UserError, match=r"saw another in a\.skeleton; leave it out$"):
        recordings({"inputs": [damaged]})
    with pytest.raises(SkeletonFileError):  # what the line about a damaged file is made of
        NTU.parse("a", b"damaged")
    garbage = {"file": base64.b64encode(b"1\n2\n").decode(), "name": "a.skeleton"}
    with pytest.raises(UserError) as caught:
        recordings({"inputs": [garbage]})
    assert "/" not in caught.value.message


def test_a_body_that_cannot_fit_is_refused_without_being_parsed():
    at_most = LIMITS.frames * BODY.channels + 10_000
    check_size(b"," * at_most, BODY, LIMITS)
    with pytest.raises(TooLargeError, match="expected recordings of 10 frames at most in a request, saw"):
        check_size(b"," * (at_most + 1), BODY, LIMITS)


def test_long_recordings_are_refused_before_their_numbers_are_read():
    with pytest.raises(
        TooLargeError, match=r"inputs\.0: expected 10 frames at most.* saw 11 here and 0 before"
    ):
        recordings({"inputs": [{"keypoints": [["no frame"] * 11]}]})
    fits = {"keypoints": frames(6)}
    assert len(recordings({"inputs": [{"keypoints": frames(5)}] * 2})) == 2
    with pytest.raises(TooLargeError, match=r"inputs\.1: .* saw 6 here and 6 before"):
        recordings({"inputs": [fits, fits]})
