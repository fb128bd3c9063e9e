"""A model behind HTTP: answers, refusals by a line, faults that tell nothing, and a server that stays up."""

import base64
import http.client
import io
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn

from llmar_pipeline.errors import UserError
from llmar_pipeline.io import serving
from llmar_pipeline.io.serving import application
from llmar_pipeline.recognition import batches
from llmar_pipeline.recognition.request import Limits
from llmar_pipeline.recognizer import Recognizer

LIMITS = Limits(body=2**20, frames=200)
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@contextmanager
def served(recognizer):
    """The application behind a real server, at a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application(recognizer, LIMITS), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def recognizer(tiny_recognizer_folder, tmp_path_factory):
    return Recognizer.load(tiny_recognizer_folder, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def port(recognizer):
    with served(recognizer) as port:
        yield port


def ask(port, body, method="POST", path="/invocations", headers=JSON):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, json.loads(text)


def recording(seed, frames=6):
    return np.random.default_rng(seed).normal(size=(1, frames, 25, 3)).astype(np.float32).cumsum(1)


def is_up(port):
    assert ask(port, b"", "GET", "/health", {}) == (200, {"status": "ok", "classes": 5})


def is_refused(answer, status, text=""):
    seen, content = answer
    assert (seen, set(content)) == (status, {"error_code", "message"}), content
    assert text in content["message"]
    assert "Traceback" not in content["message"]
    assert "\n" not in content["message"]


def test_names_and_probabilities_are_those_of_the_model(port, recognizer):
    asked = {"inputs": [{"keypoints": recording(0).tolist(), "name": "my clip"}], "params": {"top_k": 3}}
    status, content = ask(port, asked)
    expected = recognizer.predict(recording(0), top_k=3)
    [answer] = content["predictions"]
    assert status == 200
    assert answer == {
        "clip": "my clip",
        "names": list(expected.names),
        "probabilities": pytest.approx(expected.probabilities),
        "bound": pytest.approx(expected.bound),
        "none_of_these": expected.none_of_these,
        "codes": list(expected.codes),
        "sentence": expected.sentence,
    }


def test_missing_joints_other_classes_and_files(port, recognizer, skeleton_text):
    data = recording(1)
    data[0, 2, 4] = np.nan
    keypoints = [
        [[[None if np.isnan(x) else float(x) for x in joint] for joint in frame] for frame in data[0]]
    ]
    text = skeleton_text([[("1", frame)] for frame in recording(2)[0]]).encode()
    file = {"file": base64.b64encode(text).decode(), "name": "wave.skeleton"}
    asked = {"inputs": [{"keypoints": keypoints}, file], "params": {"classes": ["jump", "fall"]}}
    status, content = ask(port, asked)
    assert status == 200
    first, second = content["predictions"]
    expected = recognizer.predict(data, classes=["jump", "fall"])
    assert (first["names"], first["codes"]) == (list(expected.names), list(expected.codes))
    assert (second["clip"], sorted(second["names"])) == ("wave", ["fall", "jump"])


def test_requests_at_the_same_time_get_their_own_answers(port, recognizer):
    expected = [recognizer.predict(recording(seed)) for seed in range(16)]
    assert len({answer.codes for answer in expected}) > 8

    def one(number):
        kind = number % 18
        if kind >= 16:  # among the others, one that cannot be read
            return ask(port, {"inputs": [{"keypoints": [[[["wrong"]]]]}]})
        return ask(port, {"inputs": [{"keypoints": recording(kind).tolist()}]})

    with ThreadPoolExecutor(9) as pool:
        found = list(pool.map(one, range(36)))
    for number, answer in enumerate(found):
        if number % 18 >= 16:
            is_refused(answer, 400, "inputs.0")
        else:
            status, content = answer
            assert status == 200
            assert content["predictions"][0]["codes"] == list(expected[number % 18].codes)
            assert content["predictions"][0]["names"] == list(expected[number % 18].names)


def asked(keypoints):
    return json.dumps({"inputs": [{"keypoints": keypoints.tolist()}]}).encode()


GOOD = {"inputs": [{"keypoints": recording(0).tolist()}]}


def unpacking(size):
    """A file of keypoints that is small as long as it is packed."""
    made = io.BytesIO()
    np.savez_compressed(made, keypoints=np.zeros((1, size // 75, 25, 3), np.int8))
    file = base64.b64encode(made.getvalue()).decode()
    return json.dumps({"inputs": [{"file": file, "name": "a.npz"}]}).encode()


LINES = {
    "not JSON": (b"a,b\n1,2", 400, "expected JSON"),
    "invalid UTF-8": (b'{"inputs": "\xff\xfe"}', 400, "expected JSON in UTF-8"),
    "empty": (b"", 400, "expected JSON"),
    "a long ending": (b'{"inputs": [{"file": "eA==", "name": "a.%s"}]}' % (b"b" * 253), 400, "recording"),
    "unpacks to much": (unpacking(2**25), 413, "once unpacked"),
    "deep": (b"[" * 50_000, 400, "without end"),
    "NaN": (asked(np.full((1, 1, 25, 3), np.nan)), 400, "NaN is no"),
    "infinite": (asked(np.full((1, 1, 25, 3), 1e3)).replace(b"1000.0", b"1e999"), 400, "that are numbers"),
    "wild": (asked(np.full((1, 2, 25, 3), 1e30)), 400, "coordinates within"),
    "all missing": ({"inputs": [{"keypoints": [[[[None] * 3] * 25] * 3]}]}, 400, "not all missing"),
    "joints": (asked(np.ones((1, 2, 17, 3))), 400, "expected a recording of ntu25"),
    "coordinates": (asked(np.ones((1, 2, 25, 2))), 400, "expected a recording of ntu25"),
    "persons": (asked(np.ones((3, 2, 25, 3))), 400, "2 persons at most"),
    "axes": (asked(np.ones((2, 25, 3))), 400, "[person, frame, joint, coordinate]"),
    "words": ({"inputs": [{"keypoints": [[[["1.0"] * 3] * 25]]}]}, 400, "saw a str"),
    "no classes": ({**GOOD, "params": {"classes": ["same", "same"]}}, 400, "with different tokens"),
    "a file of another kind": ({"inputs": [{"file": "AAAA", "name": "a.npz"}]}, 400, "inputs.0"),
    "MLflow's other forms": ({"dataframe_split": {"columns": [], "data": []}}, 400, "inputs is none"),
    "long": (asked(np.zeros((1, 201, 25, 3))), 413, "200 frames at most"),
    "many values": (b"[" + b"0," * 90_000 + b"0]", 413, "200 frames at most in a request, saw 90000 values"),
    "huge": (b" " * (2**20 + 1), 413, "a request of 1,048,576 bytes at most"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LINES)
def test_a_bad_body_is_refused_by_a_line(port, kind):
    body, status, text = LINES[kind]
    is_refused(ask(port, body), status, text)
    is_up(port)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/csv"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "Application/JSON; charset=UTF-8"}, 200),
    ],
)
def test_what_it_says_it_is(port, headers, status):
    seen, content = ask(port, GOOD, headers=headers)
    assert seen == status
    if status != 200:
        is_refused((seen, content), status, "expected Content-Type: application/json")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/invocations", 405),
        ("DELETE", "/invocations", 405),
        ("POST", "/health", 405),
        ("POST", "/", 404),
        ("GET", "/../../etc/passwd", 404),
    ],
)
def test_other_methods_and_paths(port, method, path, status):
    is_refused(ask(port, b"", method, path), status, "expected POST /invocations or GET /health, saw")
    assert ask(port, b"", "GET", "/ping")[0] == 200


def test_what_is_too_large_is_not_waited_for(port):
    """Neither where its length is told, nor where it comes in chunks without end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as told:
        told.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n")
        assert told.recv(100).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as chunked:
        chunked.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(33):
            chunked.sendall(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        assert chunked.recv(100).startswith(b"HTTP/1.1 413 ")
    is_up(port)


def test_what_is_no_http_and_who_goes_away(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as other:
        other.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as away:
        away.sendall(HEAD + b"Content-Length: 99\r\n\r\n{")
    is_up(port)


def test_who_sends_too_slowly_is_told(port, monkeypatch):
    monkeypatch.setattr(serving, "_PATIENCE", 0.05)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        slow.sendall(HEAD + b"Content-Length: 99\r\n\r\n{")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def fails(*_, **__):
    raise ZeroDivisionError("secret: a fault of ours")


def fails_later(*_, **__):
    yield fails()


def diverged(*_, **__):
    raise UserError("expected finite scores, saw NaN: stage 2 has diverged")
    yield


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("read", fails),
        ("predict_all", fails),
        ("predict_all", fails_later),
        ("predict_all", diverged),
    ],
)
def test_a_fault_of_ours_is_500_and_its_trace_is_in_the_log_alone(
    port, recognizer, monkeypatch, caplog, place, fault
):
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(recognizer, place, fault)
        answer = ask(port, GOOD)
    is_refused(answer, 500, "the server failed at this request; its log says why, at fault")
    assert "secret" not in answer[1]["message"]
    [record] = [record for record in caplog.records if record.name == serving.__name__]
    assert record.args[0] in answer[1]["message"]
    assert record.exc_info[0] in (ZeroDivisionError, RuntimeError)
    assert ask(port, GOOD)[0] == 200


def test_too_many_that_wait_are_asked_to_come_again(port, monkeypatch):
    def full(*_):
        raise batches.BusyError

    monkeypatch.setattr(batches.Batches, "ask", full)
    is_refused(ask(port, GOOD), 503, "ask again later")
