"""How far a long loop has come: a bar on a terminal, now and then a line where output is none."""

import os
import sys
import time
from collections.abc import Iterable
from functools import partialmethod
from typing import Any

from tqdm import tqdm

SECONDS_A_LINE = 30.0
_LINE = (
    "{desc}: {n_fmt} of {total_fmt}{unit} ({percentage:.0f} %), {elapsed} so far, {remaining} to go{postfix}"
)
_QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class Progress(tqdm):
    """tqdm's bar; where the output is no terminal, a line every `SECONDS_A_LINE` stands in its place.

    A loop that is done before the first line is due leaves no trace there. In a `with` statement the bar is
    closed before an error leaves it, so that its last state stays on a line of its own.

    Args:
        iterable: What is looped over, if the bar is to count by itself.
        title: Printed in front.
        unit: Of what is counted, as " clips".
        **settings: Of tqdm.

    Source: ours.
    """

    def __init__(
        self, iterable: Iterable[Any] | None = None, title: str = "", unit: str = " clips", **settings: Any
    ) -> None:
        stream = sys.stderr
        self._plain = not stream.isatty()
        self._said = time.monotonic()
        self._spoke: int | None = None  # how far it was when it said so
        self.disable: bool
        super().__init__(
            iterable,
            desc=title,
            unit=unit,
            file=stream,
            **{"mininterval": 1.0, "disable": False, **settings},  # whatever `quiet_other_bars` has told tqdm
            # tqdm learns how many steps fit into an interval, and then looks at no clock in between.
            **({"miniters": 1, "bar_format": _LINE} if self._plain else _width(stream)),
        )
        if self.disable:
            self.initial = 0  # tqdm leaves it out, and others count with it

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar, or say a line if one is due."""
        if not self._plain:
            return super().display(msg, pos)
        if time.monotonic() - self._said >= SECONDS_A_LINE:
            self._say()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Make room for a line that is written beside it."""
        if not self._plain:
            super().clear(nolock)

    def close(self) -> None:
        """Leave the last state on a line of its own; without a terminal, only where a line went before."""
        if self._plain and not self.disable:
            if self._spoke not in (None, self.n):
                self._say()
            self.disable = True
            self._decr_instances(self)
            return
        super().close()

    def _say(self) -> None:
        self._said, self._spoke = time.monotonic(), self.n
        self.fp.write(f"{self}\n")
        self.fp.flush()


def _width(stream: Any) -> dict[str, Any]:
    """The width of the terminal, also when it changes; 80 where it does not know its own."""
    try:
        known = os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}


def quiet_other_bars() -> None:
    """Keep bars of other packages out of output that is no terminal; for programs, not for a library.

    What the user has set stays as it is. Processes that this one starts inherit it.

    Source: ours.
    """
    if sys.stderr.isatty():
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if os.environ["TQDM_DISABLE"] == "1":  # tqdm looks there when it is imported, which has happened
        tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)
