"""Which process something belongs to, and the folders that a process holds while it writes them."""

import errno
import fcntl
import json
import logging
import os
import socket
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import psutil

from llmar_pipeline.errors import UserError

logger = logging.getLogger(__name__)

LOCK = ".lock"
_CLOCK_STEPS = 60.0  # seconds: a start time is counted from a clock that may be set


@dataclass(frozen=True)
class Holder:
    """A process, told from all others.

    Attributes:
        host: Name of its machine.
        pid: Its number there.
        started: When it started, in seconds since 1970: numbers are given again.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @property
    def dead(self) -> bool:
        """Whether it has ended; of a process of another machine nobody knows, so no."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            another = abs(process.create_time() - self.started) > _CLOCK_STEPS
            return bool(another or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


def hold(folder: Path, wait: bool = False) -> TextIO:
    """Hold a folder, so that no other process writes it meanwhile.

    The system lets go of what a process held as soon as it ends, however it ends.

    Args:
        folder: Made where it does not exist.
        wait: For the end of who holds it.

    Returns:
        What lets the folder go when it is closed.

    Raises:
        UserError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stream = (folder / LOCK).open("a+", encoding="utf-8")
    try:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise UserError(
                    f"expected no other run that writes to {folder}, saw one at work: {_who(folder)}; wait "
                    "for its end, run again with --wait, or name another --params=data_dir=<folder>"
                ) from None
            logger.warning("%s is in use by %s: waiting for its end", folder, _who(folder))
            fcntl.flock(stream, fcntl.LOCK_EX)
        since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        stream.truncate(0)
        stream.write(json.dumps(asdict(Holder.here()) | {"since": since, "command": " ".join(sys.argv[1:])}))
        stream.flush()
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
            stream.close()
            raise
        logger.warning(
            "%s lies where files cannot be locked (%s): see to it that no other run writes there",
            folder, error.strerror,
        )  # fmt: skip
    except BaseException:
        stream.close()
        raise
    return stream


def _who(folder: Path) -> str:
    for _ in range(10):  # who has just taken the lock writes its name a moment later
        try:
            known: dict[str, Any] = json.loads((folder / LOCK).read_text(encoding="utf-8"))
            return "process {pid} on {host} ({command}), since {since}".format(**known)
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.05)
    return "a process that does not say which"
