"""`kedro watch`: frames from standard input or a port of this machine, and answers as they change."""

import json
import queue
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import suppress
from statistics import quantiles
from typing import Any

from llmar_pipeline.commands.timeline import Windows
from llmar_pipeline.errors import UserError
from llmar_pipeline.recognition.frames import LARGEST, Frame, in_time, read_frame
from llmar_pipeline.recognition.live import Current
from llmar_pipeline.recognizer import Recognizer

LOOPBACK = "127.0.0.1"
_WAITING = 1000  # frames; of a sender that is faster than their reading, the newest are lost
_PAGES = [None, re.compile(r"https?://(localhost|127\.0\.0\.1)(:\d+)?")]
"""Who may send to the WebSocket: programs, and pages of this machine, not those of others in its browser."""

Put = Callable[[bytes], None]


class _Arrivals:
    """Frames on their way from the thread that receives them, and what became of them."""

    def __init__(self, patient: bool) -> None:
        self._patient = patient  # the sender is made to wait
        self._waiting: queue.Queue[tuple[bytes, float] | None] = queue.Queue(_WAITING)
        self.received = self.bad = self.lost = 0
        self.newest = 0.0  # when the frame came that was read last

    def put(self, line: bytes) -> None:
        try:
            self._waiting.put((line, time.monotonic()), block=self._patient)
        except queue.Full:
            self.lost += 1

    def end(self) -> None:
        self._waiting.put(None)

    def behind(self, frames: int) -> bool:
        return not self._patient and self._waiting.qsize() >= frames

    def frames(self, read: Callable[[bytes], Frame], complain: Callable[[str], None]) -> Iterator[Frame]:
        while (arrived := self._waiting.get()) is not None:
            line, self.newest = arrived
            self.received += 1
            try:
                yield read(line)
            except UserError as error:
                self.bad += 1
                complain(f"frame {self.received} is passed over: {error.message}")


def watch(
    recognizer: Recognizer,
    source: Callable[[Put], None],
    windows: Windows,
    classes: SequenceOf[str] | None,
    patient: bool,
    as_json: bool,
    say: Callable[[str], None],
    complain: Callable[[str], None],
) -> tuple[list[float], int]:
    """Say what goes on until the source ends, or Ctrl-C.

    Args:
        recognizer: Who recognises.
        source: Hands on frames until there are no more; it runs in a thread of its own.
        windows: Where they are, and when an action begins and ends.
        classes: Names to choose from; None: those of the training.
        patient: Answer every window and let the sender wait; else windows that are late are left out.
        as_json: Say JSON lines.
        say: Prints an answer.
        complain: Prints what is no answer.

    Returns:
        Of each answer, seconds since its window's last frame came; and how many windows were left out.

    Raises:
        UserError: The source fails, windows make no sense, or no frame was good.
    """
    sliding = recognizer.sliding(*windows[:3])
    arrivals = _Arrivals(patient)
    failed: list[Exception] = []

    def receive() -> None:
        try:
            source(arrivals.put)
        except Exception as error:  # it would end this thread alone, and the answers wait for ever
            failed.append(error)
        finally:
            arrivals.end()

    topology, vertical = recognizer.body.topology, recognizer.vertical
    read = arrivals.frames(lambda line: read_frame(line, topology), complain)
    people = in_time(read, sliding.fps, sliding.window)
    threading.Thread(target=receive, daemon=True).start()
    complain(f"windows of {sliding.window / sliding.fps:.2f} s, {sliding.fps:g} frames a second")
    latencies: list[float] = []
    before: str | None = ""
    left_out = 0
    try:
        for current in recognizer.stream(
            people, *windows, classes, behind=lambda: arrivals.behind(sliding.step), vertical=vertical
        ):
            latencies.append(time.monotonic() - arrivals.newest)
            left_out = current.left_out
            if current.name != before:
                before = current.name
                say(_line(current) if as_json else str(current))
    except KeyboardInterrupt:
        pass
    if failed and isinstance(failed[0], OSError):
        raise UserError(f"expected a source of frames that can be read, saw {failed[0]}; name another")
    if failed:
        raise failed[0]
    complain(_summary(arrivals, latencies, left_out))
    if arrivals.received == arrivals.bad:
        raise UserError(
            f"expected frames as docs/live.md describes them, saw {arrivals.received or 'none'}"
            f"{' that are none' if arrivals.received else ''}; correct the sender"
        )
    return latencies, left_out


def _line(current: Current) -> str:
    return json.dumps(
        {
            "frame": current.frame,
            "seconds": round(current.seconds, 3),
            "action": current.name,
            "probability": round(current.probability, 4),
            "left_out": current.left_out,
        },
        ensure_ascii=False,
    )


def _summary(arrivals: _Arrivals, latencies: list[float], left_out: int) -> str:
    text = f"{arrivals.received} frames"
    for number, what in ((arrivals.bad, "passed over"), (arrivals.lost, "lost before they were read")):
        text += f", {number} {what}" * bool(number)
    text += f"; {len(latencies)} windows answered, {left_out} left out because newer ones were waiting"
    if len(latencies) > 1:
        cuts = quantiles(latencies, n=20, method="inclusive")
        text += f"; from a window's last frame to its answer {cuts[9]:.2f} s (95 %: {cuts[18]:.2f} s)"
    return text


def standard_input(put: Put) -> None:
    """Frames as lines.

    Raises:
        UserError: It is closed.
    """
    if sys.stdin is None:
        raise UserError("expected frames on standard input, saw it closed; name --udp or --websocket")
    while line := sys.stdin.buffer.readline(LARGEST + 1):
        if line.strip():
            put(line)
        while len(line) > LARGEST and not line.endswith(b"\n"):  # the rest of one that is too long
            line = sys.stdin.buffer.readline(LARGEST + 1)


def udp(port: int) -> Callable[[Put], None]:
    """Frames as datagrams to a port of this machine.

    Raises:
        UserError: The port cannot be had.
    """
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        receiver.bind((LOOPBACK, port))
    except OSError as error:
        raise _no_port(port, error) from error

    def receive(put: Put) -> None:
        while True:
            put(receiver.recv(2**16))

    return receive


def websocket(port: int) -> Callable[[Put], None]:
    """Frames as messages to a WebSocket of this machine.

    Raises:
        UserError: The port cannot be had.
    """
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import ServerConnection, serve

    puts: list[Put] = []

    def receive(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):  # a sender that dies says nothing
            for message in connection:
                puts[0](message.encode() if isinstance(message, str) else message)

    # Somewhat larger than a frame may be, so that it is refused as one, and the connection stays.
    settings: dict[str, Any] = {"origins": _PAGES, "max_size": 4 * LARGEST, "compression": None}
    try:
        server = serve(receive, LOOPBACK, port, **settings)
    except OSError as error:
        raise _no_port(port, error) from error

    def run(put: Put) -> None:
        puts.append(put)
        server.serve_forever()

    return run


def _no_port(port: int, error: OSError) -> UserError:
    return UserError(
        f"expected a free port of {LOOPBACK}, saw that {port} cannot be had ({error.strerror}); "
        "name another one"
    )
