"""Ctrl-C, SIGTERM and SIGHUP: a run that is asked to end does so in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from llmar_pipeline.errors import causes

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The process was asked to end.

    Attributes:
        signal: By which signal.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__("Ctrl-C" if number == signal.SIGINT else self.signal.name)


def interruption(error: BaseException) -> Interrupted | None:
    """What asked the process to end, found anywhere in the chain of causes."""
    for cause in causes(error):
        if isinstance(cause, KeyboardInterrupt):
            return cause if isinstance(cause, Interrupted) else Interrupted(signal.SIGINT)
    return None


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within it, a signal that asks this process to end raises `Interrupted`; a second one ends it at once.

    What the process was told to ignore (as by `nohup`) it goes on ignoring. Outside the main thread, where
    Python has no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ASKING}
    ours = [number for number, known in before.items() if known not in (signal.SIG_IGN, None)]

    def end(number: int, frame: FrameType | None) -> None:
        for other in ours:
            signal.signal(other, signal.SIG_DFL)
        raise Interrupted(number)

    try:
        for number in ours:
            signal.signal(number, end)
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def children_without_ctrl_c() -> Iterator[None]:
    """Processes that are started within it are not reached by Ctrl-C, which goes to all of a terminal.

    Who started them ends them. Here it arrives when the context is left.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
