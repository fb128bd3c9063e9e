import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from llmar_pipeline import progress
from llmar_pipeline.progress import Progress, quiet_other_bars

FAILS = """
import time
from llmar_pipeline import progress
progress.SECONDS_A_LINE = {every}
try:
    with progress.Progress(total=10, title="reading", mininterval=0.0) as bar:
        for _ in range(4):
            bar.update()
            time.sleep(0.06)
        raise RuntimeError("broken")
except RuntimeError as error:
    print(f"Error: {{error}}", flush=True)
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def loop(steps: int, seconds: float, clock: list[float], **settings: object) -> None:
    with Progress(total=steps, title="reading", **settings) as bar:
        for _ in range(steps):
            clock[0] += seconds
            bar.update()


def test_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    loop(40, 1.0, clock)
    assert terminal.getvalue().count("\r") > 30
    assert terminal.getvalue().endswith("\n")
    assert "reading: 100%" in terminal.getvalue()


def test_elsewhere_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    loop(400, 0.25, clock, unit=" steps")
    assert log.getvalue().splitlines() == [
        "reading: 120 of 400 steps (30 %), 00:30 so far, 01:10 to go",
        "reading: 240 of 400 steps (60 %), 01:00 so far, 00:40 to go",
        "reading: 360 of 400 steps (90 %), 01:30 so far, 00:10 to go",
        "reading: 400 of 400 steps (100 %), 01:40 so far, 00:00 to go",
    ]
    assert "\r" not in log.getvalue()


@pytest.mark.parametrize("settings", [{}, {"initial": 5}])
def test_what_is_done_within_half_a_minute_leaves_no_line(
    settings: dict[str, int], monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    loop(29, 1.0, clock, **settings)
    assert log.getvalue() == ""


def test_slow_steps_are_a_line_each(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    loop(3, 100.0, clock)
    assert log.getvalue().count("\n") == 3  # the last one is not said again


def run(every: float, **streams: object) -> "subprocess.CompletedProcess[bytes]":
    source = str(Path(progress.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", FAILS.format(every=every)],
        env={**os.environ, "PYTHONPATH": source},
        check=True,
        timeout=60,
        **streams,
    )


def test_through_a_pipe_there_are_lines_and_then_the_error() -> None:
    output = run(0.1, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode()
    *lines, error = output.splitlines()
    assert error == "Error: broken"
    assert lines
    assert all(line.startswith("reading: ") for line in lines)
    assert "\r" not in output
    assert run(30, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout == b"Error: broken\n"


@pytest.mark.parametrize("columns", [80, 0])  # 0: a terminal that does not know its size
def test_on_a_terminal_the_last_state_stays_above_the_error(columns: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    run(30, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:
            break
        if not read:
            break
        output += read
    os.close(ours)
    lines = output.decode().replace("\r\n", "\n").split("\n")
    assert lines[-2:] == ["Error: broken", ""]
    assert "| 4/10 [" in lines[-3].split("\r")[-1]


OTHERS = """
from llmar_pipeline.progress import Progress, quiet_other_bars
quiet_other_bars()
from tqdm.auto import tqdm
from transformers.utils.logging import tqdm as theirs
for bar in (tqdm, theirs):
    for _ in bar(range(3), desc="Loading weights"):
        pass
import os
print(sorted(name for name in os.environ if "PROGRESS_BAR" in name))
"""


def test_through_a_pipe_other_packages_draw_no_bars() -> None:
    source = str(Path(progress.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", OTHERS],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": source},
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout == "['HF_HUB_DISABLE_PROGRESS_BARS', 'MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR']\n"


def test_on_a_terminal_other_packages_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    before = dict(os.environ), progress.tqdm.__dict__["__init__"]
    quiet_other_bars()
    assert (dict(os.environ), progress.tqdm.__dict__["__init__"]) == before
