"""Which clips lie in a folder of recordings, and where."""

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llmar_pipeline.errors import UserError, escaped

logger = logging.getLogger(__name__)

_LEFTOVER = "__MACOSX"  # folder of a Mac's archives; its files are named ._<file>, and hold no recording


@dataclass(frozen=True, slots=True)
class Source:
    """Where one clip lies; there may be millions of them.

    Attributes:
        name: The clip's name.
        at: The file's path.
        member: Place of the clip within a file of many; empty where the file is the clip.
        twin: The file that bears the same name and comes first; None as it should be.
    """

    name: str
    at: str
    member: str = ""
    twin: str | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.at)

    def file(self, folder: Path) -> str:
        """The file as seen from the folder that was read, which may be the file itself."""
        start = f"{folder}{os.sep}"
        if self.at.startswith(start):  # as it always is; `relative_to` takes ten times as long
            return self.at[len(start) :].replace(os.sep, "/")
        return self.path.name if self.path == folder else self.path.relative_to(folder).as_posix()


def leaves(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, lies elsewhere than below a folder, which may be a link itself."""
    try:
        return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except ValueError:  # no file can have such a name
        return True


def files_below(folder: Path, pass_over: Callable[[UserError], None] | None = None) -> Iterator[Path]:
    """All files below a folder. Links within it are followed, but not in circles.

    Args:
        folder: Which.
        pass_over: Told of each folder in it that cannot be read, whose files are left out then.

    Raises:
        UserError: A folder in it cannot be read, and nobody is told.
    """

    def refuse(error: OSError) -> None:
        if Path(error.filename) == folder:
            return
        unreadable = UserError(f"{error.filename}: expected a folder that can be read, saw {error.strerror}.")
        if pass_over is None:
            raise unreadable
        pass_over(unreadable)

    seen: set[str] = set()
    links: list[Path] = []
    for at, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        away = [
            path
            for name in (*folders, *files)
            if (path := Path(at, name)).is_symlink() and leaves(path, folder)
        ]
        links += away
        left_out = {_LEFTOVER, *(path.name for path in away)}
        folders[:] = [name for name in folders if name not in left_out]
        yield from (Path(at, name) for name in files if name not in left_out and not name.startswith("._"))
    if links:
        logger.warning(
            "%d links leave %s and are not followed, such as %s: put there what they point to, or name its "
            "folder by --params=raw_dir=<folder>",
            len(links),
            folder,
            escaped(str(links[0].relative_to(folder))),
        )


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Sources by name; of several with one name, all but the first learn of their twin."""
    # A folder comes before others whose names only begin like its own, as paths are ordered.
    ordered = sorted(
        sources, key=lambda source: (source.name, source.at.replace(os.sep, "\0"), source.member)
    )
    for i, (first, second) in enumerate(itertools.pairwise(ordered)):
        if first.name == second.name:
            ordered[i + 1] = replace(second, twin=ordered[i].twin or first.at)
    return ordered
