"""`kedro serve` and `kedro pack`, as a user types them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner

from llmar_pipeline.cli import cli
from llmar_pipeline.commands import serve
from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.request import Limits


def test_a_port_that_is_taken_is_one_line_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=f"port {port}, saw: .*Address already in use.*--port=0 takes one"
        ):
            serve.serve("no model", "127.0.0.1", port, Limits(), 32, None, print)


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["serve", "nowhere", "--port=0"], "saw no such folder: nowhere"),
        (["serve", "nowhere", "--host=999.0.0.1"], "expected to listen at 999.0.0.1, port 5001, saw"),
        (["pack", "nowhere", "out.zip"], "saw no such folder: nowhere"),
    ],
)
def test_what_is_no_model_is_one_line(arguments, seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert seen in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_packed_model_answers_until_it_is_asked_to_end(tiny_recognizer_folder, tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    program = [sys.executable, "-m", "llmar_pipeline"]
    packed = subprocess.run(
        [*program, "pack", str(tiny_recognizer_folder), "model.zip"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert packed.returncode == 0, packed.stderr
    assert re.search(r"model\.zip: [\d,]+ bytes; `kedro serve model\.zip` answers with it", packed.stdout)
    command = [*program, "serve", "model.zip", "--port=0"]
    server = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        lines = (re.search(r"http://\S+/invocations", line) for line in server.stdout)  # Kedro says more
        address = next(found for found in lines if found)
        asked = json.dumps(
            {"inputs": [{"keypoints": [[[[0.1, 0.2, 0.3]] * 25] * 4]}], "params": {"top_k": 2}}
        )
        request = Request(address[0], asked.encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=120) as response:
            [answer] = json.load(response)["predictions"]
        assert len(answer["names"]) == 2
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert server.stdout.read().endswith("ended\n")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
