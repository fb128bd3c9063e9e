"""The processes that a launcher started: the first one runs the command, the others help where it asks."""

import logging
import os
import re
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import distributed

from llmar_pipeline.errors import UserError, causes
from llmar_pipeline.training.launchers import Launched

logger = logging.getLogger(__name__)

_MEETING = timedelta(minutes=10)  # ours: by which all processes must have been started
_LOOK = 0.1  # ours: seconds between two looks of one that waits
_FAREWELL = timedelta(seconds=10)  # ours: for the others to hear of the end from a store of this process
_GRACE = timedelta(seconds=3)  # ours: for the first process to say what has failed
_CONNECTION = re.compile(r"gloo|NCCL|[Cc]onnection|[Ss]ocket")  # broken, as torch's backends say it
_FAILED = "failed"  # what failed, and where; whoever finds it ends without a further word
_MADE, _ENDED = "made", "ended"


class OtherProcessError(UserError):
    """Another process of the launcher has failed, and has said so."""


class World:
    """All processes of a launcher, as one of them sees them.

    The first process alone runs a command: it reads, writes, tracks and reports. What the others are to do
    with it is a call, `call`, which all of them make in one process group; until then, and between calls,
    they wait (`help`) at a store of torch's, of which neither hours nor the end of a machine make a deadlock.

    Source: ours; torch's TCPStore and process groups.
    """

    def __init__(self, place: Launched, store: distributed.Store):
        self.place = place
        self._store, self._calls, self._deals, self._meetings = store, 0, 0, 0

    @classmethod
    def join(cls, place: Launched) -> "World":
        """Meet the other processes.

        Raises:
            UserError: They are not to be reached.
        """
        variables = place.variables()
        os.environ.update(variables)
        try:
            store, *_ = next(distributed.rendezvous("env://", place.rank, place.size, timeout=_MEETING))
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"expected {place.size} processes to meet at {place.address}, port {place.port}, saw "
                f"{str(error).splitlines()[0]}; see that all were started and reach it, or set MASTER_ADDR "
                "and MASTER_PORT to what they reach"
            ) from error
        finally:
            for name in variables:
                os.environ.pop(name, None)
        return cls(place, store)

    @property
    def first(self) -> bool:
        """Whether this process runs the command."""
        return self.place.rank == 0

    def call(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        """Have all processes call a function together, in one process group.

        Args:
            function: importable by name.
            *arguments: of the function, picklable.
            **settings: of the function, picklable.

        Returns:
            What it returned in this process, the first.

        Raises:
            OtherProcessError: another process failed.
        """
        self._store.set(f"call{self._calls}", _MADE)
        return self._together([(function, arguments, settings)])

    def help(self) -> int:
        """Take part in the calls of the first process, until it ends.

        Returns:
            The exit code.
        """
        logging.disable(logging.WARNING)  # the first process says it
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; with the first process these end
        try:
            while self._made():
                self._together([None])
        except Exception as error:
            self._tell(error)
        failed = bool(self._failure())
        with suppress(RuntimeError):  # it may have ended
            self._store.add("gone", 1)
        if failed:
            time.sleep(_GRACE.total_seconds())  # launchers end all once one has failed: not before it spoke
        return int(failed)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Within it the first process runs the command; the others end with it, however it ends."""
        global _leading
        _leading = self
        try:
            yield
        except BaseException as error:
            self._store.compare_set(_FAILED, "", self._line(error))
            raise
        finally:
            _leading = None
            self._store.set(f"call{self._calls}", _ENDED)
            others = self.place.size - 1
            self._within(_FAREWELL, lambda: self._store.add("gone", 0) >= others)

    def deal(self, number: int) -> Iterator[int]:
        """The numbers below one given, each dealt to one of the processes, whichever asks first."""
        self._deals += 1
        key = f"call{self._calls}/dealt{self._deals}"
        while (dealt := self._store.add(key, 1) - 1) < number:
            yield dealt

    def meet(self) -> None:
        """Wait until all processes have come so far, however long that takes.

        Raises:
            OtherProcessError: one has failed.
        """
        self._meetings += 1
        key = f"call{self._calls}/met{self._meetings}"
        if self._store.add(key, 1) == self.place.size:
            self._store.set(f"{key}/all", "")
        self._wait(f"{key}/all")

    def _made(self) -> bool:
        """Whether the first process calls again; waits until it says."""
        self._wait(key := f"call{self._calls}", but_failed=False)
        return bytes(self._store.get(key)).decode() != _ENDED

    def _together(self, told: list[Any]) -> Any:
        """One call, which the first process tells the others."""
        global _together
        _together = self
        try:
            with self._group():
                distributed.broadcast_object_list(told, src=0, device=torch.device("cpu"))
                function, arguments, settings = told[0]
                result = function(*arguments, **settings)
                self.meet()
        except Exception as error:
            if any(isinstance(cause, UserError) for cause in causes(error)):
                raise
            if failure := self._failure():  # of which a broken connection is only the sign
                raise OtherProcessError(failure) from error
            if isinstance(error, RuntimeError) and _CONNECTION.search(str(error)):
                seen = str(error).splitlines()[0]
                raise OtherProcessError(
                    f"expected all {self.place.size} processes to work to the end, saw that one is "
                    f"gone ({seen}); the same command goes on from the last checkpoint, with any number"
                ) from error
            raise
        finally:
            _together = None
        self._calls += 1
        self._deals = self._meetings = 0
        return result

    @contextmanager
    def _group(self) -> Iterator[None]:
        """A process group; within it packages find the launcher's variables, too."""
        variables, place = self.place.variables(), self.place
        backend = "gloo"
        if torch.cuda.is_available():
            backend = "cpu:gloo,cuda:nccl"
            own = place.local_rank % torch.cuda.device_count()  # srun may show each process its GPU alone
            torch.cuda.set_device(own)
            variables["LOCAL_RANK"] = str(own)
        store = distributed.PrefixStore(f"group{self._calls}", self._store)
        os.environ.update(variables)
        AcceleratorState._reset_state(reset_partial_state=True)  # which knows of one process
        try:
            distributed.init_process_group(backend, store=store, rank=place.rank, world_size=place.size)
            yield
            distributed.destroy_process_group()  # after an error the process ends, and the group with it
        finally:
            for name in variables:
                os.environ.pop(name, None)
            AcceleratorState._reset_state(reset_partial_state=True)

    def _wait(self, key: str, but_failed: bool = True) -> None:
        """Look until a key is there; torch's own waiting gives up after some time, with a warning."""
        while not self._store.check([key]):
            if but_failed and (failure := self._failure()):
                raise OtherProcessError(failure)
            time.sleep(_LOOK)

    def _failure(self) -> str:
        """What has failed in whichever process; empty: nothing."""
        try:
            return bytes(self._store.get(_FAILED)).decode() if self._store.check([_FAILED]) else ""
        except RuntimeError:  # the store is gone, with the process that kept it
            return "the first process has ended"

    def _tell(self, error: Exception) -> None:
        """Say what failed here, unless it is only the sign that another process has failed."""
        if isinstance(error, OtherProcessError) or self._within(_GRACE, lambda: bool(self._failure())):
            return
        with suppress(RuntimeError):
            self._store.compare_set(_FAILED, "", self._line(error))
        if isinstance(error, UserError):
            print(f"Error: {self._line(error)}", file=sys.stderr)  # on a GPU the first process may be stuck
        else:
            traceback.print_exception(error)

    def _line(self, error: BaseException) -> str:
        text = error.message if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return f"process {self.place.rank} of {self.place.size}, on {socket.gethostname()}: {text}"

    def _within(self, time_left: timedelta, reached: Callable[[], bool]) -> bool:
        """Whether something comes to be true within some time."""
        end = time.monotonic() + time_left.total_seconds()
        while not reached():
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK)
        return True


_leading: World | None = None
_together: World | None = None


def leading() -> World | None:
    """The processes that this one leads; None: it is alone, or does not lead."""
    return _leading


def together() -> World | None:
    """The processes that make a call together with this one just now."""
    return _together
