"""`kedro watch`: frames from standard input, a UDP port or a WebSocket, good ones and damaged ones."""

import io
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from llmar_pipeline.commands import watch as live
from llmar_pipeline.commands.timeline import Windows
from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.frames import LARGEST
from llmar_pipeline.recognition.live import answers
from llmar_pipeline.recognition.segments import Sliding, Thresholds
from llmar_pipeline.recognizer import Recognizer
from llmar_pipeline.skeletons.topology import NTU25, Body

WINDOWS = Windows(10, 0.8, 0.4, Thresholds(0.6, 0.4))


def frame(height: float, **content) -> bytes:
    body = np.random.default_rng(0).normal(size=(25, 3)).round(3)
    body[0, 1] = height
    return json.dumps({"keypoints": [body.tolist()], **content}).encode()


def by_height(windows):
    for window in windows:
        high = float(np.nanmean(window.data[0, :, 0, 1]) > 0)
        yield {"up": 0.9 * high, "down": 0.9 * (1 - high)}


def recognizer():
    """One that knows up from down."""
    body = Body(NTU25, 2)

    def stream(frames, fps, window_s, step_s, thresholds, classes, behind, vertical):
        sliding = Sliding.of_seconds(fps, window_s, step_s)
        return answers(frames, body, sliding, thresholds, by_height, behind, vertical)

    return SimpleNamespace(body=body, vertical="up", sliding=Sliding.of_seconds, stream=stream)


def watched(lines, patient=True, as_json=True):
    said, complained = [], []

    def source(put):
        for line in lines:
            put(line)

    live.watch(recognizer(), source, WINDOWS, None, patient, as_json, said.append, complained.append)
    return said, complained


def test_what_is_said_when_the_action_changes():
    said, complained = watched([frame(1)] * 19 + [frame(-1)] * 21)
    assert [json.loads(line) for line in said] == [
        {"frame": 8, "seconds": 0.8, "action": "up", "probability": 0.9, "left_out": 0},
        {"frame": 28, "seconds": 2.8, "action": "down", "probability": 0.9, "left_out": 0},
    ]
    assert complained[0] == "windows of 0.80 s, 10 frames a second"
    assert complained[1].startswith("40 frames; 9 windows answered, 0 left out because")
    assert "from a window's last frame to its answer" in complained[1]
    said, _ = watched([frame(1)] * 20, as_json=False)
    assert said == ["    0.80 s   90.0%  up"]


def test_a_bad_frame_is_one_line_and_the_rest_goes_on():
    good = [frame(1, time=n / 10) for n in range(8)]
    said, complained = watched([b"nonsense", *good[:3], b"{}", *good[3:], b'{"keypoints": 1}'])
    assert [json.loads(line)["frame"] for line in said] == [8]
    bad = complained[1:-1]
    assert [line.split(" is passed over: expected ")[0] for line in bad] == ["frame 1", "frame 5", "frame 11"]
    assert not any("\n" in line for line in bad)
    assert complained[-1].startswith("11 frames, 3 passed over; 1 windows answered")


def test_frames_that_come_faster_than_answers_are_left_out_and_counted(monkeypatch):
    monkeypatch.setattr(live._Arrivals, "behind", lambda self, frames: self.received < 20)
    said, complained = watched([frame(1)] * 24, patient=False)
    assert [json.loads(line)["left_out"] for line in said] == [3]
    assert "2 windows answered, 3 left out because newer ones were waiting" in complained[-1]


def test_where_even_reading_is_too_slow_frames_are_lost_and_counted(monkeypatch):
    monkeypatch.setattr(live, "_WAITING", 5)
    arrivals = live._Arrivals(patient=False)
    for _ in range(9):
        arrivals.put(frame(1))
    assert arrivals.lost == 4
    assert arrivals.behind(5)
    assert not arrivals.behind(6)
    assert "9 frames" not in live._summary(arrivals, [], 0)
    assert "4 lost before they were read" in live._summary(arrivals, [], 0)


@pytest.mark.parametrize(("lines", "seen"), [([], "saw none"), ([b"x", b"y"], "saw 2 that are none")])
def test_without_one_good_frame_it_fails(lines, seen):
    with pytest.raises(UserError, match=rf"expected frames as docs/live.md describes them, {seen}"):
        watched(lines)


def test_ctrl_c_ends_it_in_order():
    def source(put):
        for line in [frame(1)] * 8:
            put(line)
        threading.Event().wait(60)

    complained = []

    def say(line):
        raise KeyboardInterrupt

    live.watch(recognizer(), source, WINDOWS, None, True, True, say, complained.append)
    assert complained[-1].startswith("8 frames; 1 windows answered")


def test_lines_of_standard_input(monkeypatch):
    long = b"x" * (2 * LARGEST + 5)
    content = b"\n".join([b"one", b"", long, b"two"])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    lines = []
    live.standard_input(lines.append)
    assert [line.strip()[:3] for line in lines] == [b"one", b"xxx", b"two"]
    assert len(lines[1]) == LARGEST + 1  # which is refused as too long


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind((live.LOOPBACK, 0))
        return free.getsockname()[1]


def received(source) -> queue.Queue:
    lines: queue.Queue = queue.Queue()
    threading.Thread(target=source, args=(lines.put,), daemon=True).start()
    return lines


def test_datagrams(port):
    lines = received(live.udp(port))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(frame(1), (live.LOOPBACK, port))
        sender.sendto(b"", (live.LOOPBACK, port))
    assert [lines.get(timeout=30), lines.get(timeout=30)] == [frame(1), b""]
    with pytest.raises(UserError, match=rf"expected a free port .*, saw that {port} cannot be had"):
        live.udp(port)


def test_messages_of_a_websocket(port):
    lines = received(live.websocket(port))
    for origin in (None, "http://localhost:8000"):
        with connect(f"ws://{live.LOOPBACK}:{port}", origin=origin, proxy=None) as sender:
            sender.send(frame(1).decode())
            sender.send(b"bytes")
        assert [lines.get(timeout=30), lines.get(timeout=30)] == [frame(1), b"bytes"]
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{live.LOOPBACK}:{port}", origin="https://elsewhere.example", proxy=None)
    with pytest.raises(UserError, match=rf"saw that {port} cannot be had"):
        live.websocket(port)


def moving(frames: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, frames, 25, 3)).cumsum(axis=1).astype(np.float32) / 9


def test_a_recogniser_streams_what_it_finds_in_the_recording(tiny_recognizer_folder, tmp_path):
    recognizer = Recognizer.load(tiny_recognizer_folder, cache=tmp_path)
    data = moving(50)
    settings = {"fps": 30, "step_s": 0.25, "thresholds": Thresholds(0.3, 0.2)}
    sliding = recognizer.sliding(30, None, 0.25)
    assert (sliding.window, sliding.step) == (11, 8)
    assert recognizer.sliding() == Sliding(30, 11, 4)  # 0.7 of the 16 frames of its VQ-VAE, and a third
    segments = recognizer.segments(data, **settings)
    assert segments
    streamed = list(recognizer.stream(data.swapaxes(0, 1), **settings))
    for one, at in zip(streamed, sliding.cuts(50), strict=False):
        assert [s.name for s in segments if s.begin <= at < s.end] == [one.name] * (one.name is not None)
    short = recognizer.segments(data[:, :1], **settings)
    assert [(one.begin, one.end) for one in short] == [(0, 1)] * len(short)


def test_a_frame_rate_that_nobody_knows_is_asked_for(tiny_recognizer_folder, tmp_path, monkeypatch):
    recognizer = Recognizer.load(tiny_recognizer_folder, cache=tmp_path)
    assert recognizer.sliding().fps == 30  # that of the corpus
    monkeypatch.setattr(recognizer, "_corpus", CORPORA["custom"])
    with pytest.raises(UserError, match=r"says its frame rate, .*, saw neither, for custom; say it"):
        recognizer.segments(moving(5))
    keypoints = tmp_path / "x.npz"
    np.savez(keypoints, keypoints=moving(5), fps=12.5)
    assert recognizer.sliding(recording=keypoints).fps == 12.5


@pytest.mark.slow
def test_the_command_on_damaged_lines_among_good_ones(tiny_recognizer_folder, project):
    lines = [json.dumps({"keypoints": body.tolist()}) for body in moving(40).swapaxes(0, 1)]
    lines[5:5] = ["{damaged", json.dumps({"keypoints": [[[0, 0]] * 17]})]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "llmar_pipeline", "watch", f"--model={tiny_recognizer_folder}"),
            *("--all", "--json", "--enter=0.3", "--exit=0.2"),
        ],
        input="\n".join(lines),
        cwd=project,
        env=os.environ | {"KEDRO_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0]["frame"] == 11
    assert {one["action"] for one in answers} <= {*Recognizer.load(tiny_recognizer_folder).class_names, None}
    assert "Traceback" not in done.stderr
    assert "frame 6 is passed over: expected a frame as a JSON object" in done.stderr
    assert "frame 7 is passed over: expected keypoints [person, 25, 3]" in done.stderr
    assert "42 frames, 2 passed over; 8 windows answered" in done.stderr
