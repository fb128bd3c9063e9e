"""The examples in docs/live.md run as they stand, on stand-ins for packages that are not ours."""

import json
import re
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from llmar_pipeline.recognition.frames import read_frame
from llmar_pipeline.skeletons.topology import COCO17, Topology


class Values(list):
    """Something with the methods of a tensor."""

    def int(self):
        return self

    def tolist(self):
        return list(self)


class Camera:
    def __init__(self, _):
        self.left = 2

    def read(self):
        self.left -= 1
        return self.left >= 0, np.zeros((480, 640, 3), np.uint8)


class Landmarker:
    create_from_options = classmethod(lambda cls, options: cls())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def detect_for_video(self, image, milliseconds):
        assert isinstance(milliseconds, int)
        return SimpleNamespace(pose_landmarks=[[SimpleNamespace(x=0.5, y=0.25)] * 33])


def mediapipe():
    vision = SimpleNamespace(
        PoseLandmarkerOptions=SimpleNamespace,
        PoseLandmarker=Landmarker,
        RunningMode=SimpleNamespace(VIDEO=1),
    )
    return SimpleNamespace(
        tasks=SimpleNamespace(vision=vision, BaseOptions=SimpleNamespace),
        Image=SimpleNamespace,
        ImageFormat=SimpleNamespace(SRGB=1),
    )


class Yolo:
    def __init__(self, name):
        assert name.endswith("-pose.pt")

    def track(self, source, stream):
        seen = SimpleNamespace(xy=Values([[[3.0, 4.0]] * 17] * 2), conf=Values([[0.5] * 17] * 2))
        yield SimpleNamespace(boxes=SimpleNamespace(id=Values([4, 9])), keypoints=seen)
        yield SimpleNamespace(boxes=SimpleNamespace(id=None), keypoints=seen)


MEDIAPIPE = Topology("mediapipe33", tuple(map(str, range(33))), (-1,) * 33, (0,) * 33, 0, (0, 1), (2, 3), 2)
CV2 = SimpleNamespace(VideoCapture=Camera, cvtColor=lambda image, _: image, COLOR_BGR2RGB=4)
EXAMPLES = {
    "From MediaPipe": ({"cv2": CV2, "mediapipe": mediapipe()}, MEDIAPIPE, [[0], [0]]),
    "From Ultralytics": ({"ultralytics": SimpleNamespace(YOLO=Yolo)}, COCO17, [[4, 9], []]),
}


@pytest.fixture(scope="module")
def page(project):
    return (project / "docs/live.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_sends_frames_that_are_read(heading, page, monkeypatch):
    modules, topology, ids = EXAMPLES[heading]
    code = re.search(rf"^## {heading}$.*?^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    assert len(code.splitlines()) <= 16
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    sent = []
    sender = SimpleNamespace(sendto=lambda line, to: sent.append((line, to)))
    monkeypatch.setattr(socket, "socket", lambda *_: sender)
    exec(compile(code, "docs/live.md", "exec"), {})
    assert {to for _, to in sent} == {("127.0.0.1", 9000)}
    frames = [read_frame(line, topology) for line, _ in sent]
    assert [list(frame.people) for frame in frames] == ids
    assert frames[0].time <= frames[1].time


def test_the_frame_that_is_shown_is_one(page):
    shown = re.search(r"```json\n(.*?)\n```", page, re.DOTALL)[1]
    two = Topology("two", ("a", "b"), (-1, 0), (0, 1), 0, (0, 1), (0, 1))
    frame = read_frame(shown.encode(), two)
    assert (list(frame.people), frame.time) == ([7], 12.4)
    keys = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(json.loads(shown)) == set(keys)
