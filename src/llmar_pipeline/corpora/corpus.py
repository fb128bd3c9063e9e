"""What every skeleton dataset has: a reader, class names, protocols."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llmar_pipeline.corpora.formats.pyskl import load_clip, read_pyskl
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.errors import UserError
from llmar_pipeline.machine import prepare_process
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_CLIPS_PER_TASK = 32
_LARGEST_FILE = 64 * 2**20  # bytes; a recording of an hour
PICKLE = ".pkl"
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Source:
    """Where one clip lies.

    Attributes:
        name: The clip's name.
        path: The file.
        member: Place of the clip within a file of many; empty where the file is the clip.
        twin: The file that bears the same name and comes first; None as it should be.
    """

    name: str
    path: Path
    member: str = ""
    twin: Path | None = None

    def file(self, folder: Path) -> str:
        """The file as seen from the folder that was read, which may be the file itself."""
        return self.path.name if self.path == folder else self.path.relative_to(folder).as_posix()


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A skeleton dataset: its facts and how to read it.

    Attributes:
        name: Short name, as on the command line.
        topology: Its joints.
        class_names: Name of each label, in label order.
        suffix: How its files end, dot included.
        parse_name: File name to `action` (0-based label), `subject`, and `camera`, `setup`, `replication`
            where they exist (as the name has them); raises SkeletonFileError for a foreign name.
        parse: Name and content of a file to its sequence; raises SkeletonFileError where it is damaged.
        protocols: Protocols by name, the default first.
        persons: Most persons that a sequence of it has.
        download: Where to get the data and how to lay it out, in one sentence.
        citation: The publication to cite.
        units: Of the coordinates: "metres" or "pixels".
        vertical: Where y points in keypoint files made of it; what is read always has y up.
        metric: The number that its publications report: "accuracy" or "mean_class_accuracy".
        clips: Official number of clips, excluded ones not counted; None where it is unknown.
        class_clips: The same of each class, in label order; 0 where it has none.
        clip_frames: Mean frames of a clip, those of two persons counted twice; None where it is unknown.
        captured: From an index, the names of all clips that the recording sessions in it must have, as far as
            the corpus's plan tells; None where it followed no plan.
        excluded: Names that `read` passes over: the authors ask everyone to leave them out.
    """

    name: str
    topology: Topology
    class_names: tuple[str, ...]
    suffix: str
    parse_name: Callable[[str], dict[str, int]]
    parse: Callable[[str, bytes], Sequence]
    protocols: dict[str, Protocol]
    persons: int
    download: str
    citation: str
    units: Literal["metres", "pixels"] = "metres"
    vertical: Literal["up", "down"] = "up"
    metric: Literal["accuracy", "mean_class_accuracy"] = "accuracy"
    clips: int | None = None
    class_clips: tuple[int, ...] | None = None
    clip_frames: float | None = None
    captured: Callable[[pd.DataFrame], set[str]] | None = None
    excluded: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def modules(self) -> list[str]:
        """Modules of this package that its reader is written in, as `code_of` takes them."""
        parts = (type(self), *(getattr(part, "func", part) for part in (self.parse, self.parse_name)))
        return sorted({part.__module__ for part in parts if part.__module__.startswith(f"{_PACKAGE}.")})

    @property
    def stored_bytes(self) -> int | None:
        """Size of one store of all official clips, about; None where too little is known."""
        if self.clips is None or self.clip_frames is None:
            return None
        numbers = len(self.topology.joints) * self.topology.coordinates
        return round(self.clips * self.clip_frames * numbers * 4)

    def open(self, folder: Path) -> Corpus:
        """The corpus as it lies in a folder: itself, unless the folder says what it is (`custom`)."""
        return self

    def sources(self, folder: Path) -> list[Source]:
        """Every clip of a folder and its subfolders, by name, without the `excluded` ones.

        Where there is no file of the corpus but one pickle in pyskl's layout, they are those of the pickle.

        Args:
            folder: Where the recordings lie; or the pickle itself.

        Raises:
            UserError: If the folder does not exist or holds no file of the corpus.
        """
        folder = Path(folder)
        found = [folder] if folder.is_file() else list(_files(folder))
        sources = [Source(path.stem, path) for path in found if path.suffix == self.suffix]
        pickles = [path for path in found if path.suffix == PICKLE]
        if not sources and len(pickles) == 1:
            names = read_pyskl(pickles[0]).names
            sources = [Source(name, pickles[0], str(place)) for place, name in enumerate(names)]
        if not sources:
            seen = f"{len(pickles)} pickles" if pickles else "none" if folder.exists() else "no such folder"
            raise UserError(
                f"{folder}: expected {self.name} files (*{self.suffix}) or one pickle of pyskl (*{PICKLE}), "
                f"saw {seen}. {self.download} "
                "Recordings that lie elsewhere are named by --params=raw_dir=<folder>."
            )
        return in_order(source for source in sources if source.name not in self.excluded)

    def load(self, source: Source | Path, named: bool = True) -> Sequence:
        """Reads one clip.

        Args:
            source: Where it lies.
            named: Whether it must bear a name of this corpus, which says its class.

        Raises:
            SkeletonFileError: If it cannot be read, or is damaged, or does not bear such a name.
        """
        source = source if isinstance(source, Source) else Source(Path(source).stem, Path(source))
        path = source.path
        try:
            return self._load(source, named)
        except SkeletonFileError as error:
            raise SkeletonFileError(error.expected, error.seen, error.line, file=str(path)) from error
        except OSError as error:
            raise SkeletonFileError(
                "a readable file", error.strerror or repr(error), file=str(path)
            ) from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            seen = f"byte 0x{error.object[error.start]:02x}"
            raise SkeletonFileError("text in UTF-8", seen, line, file=str(path)) from error

    def _load(self, source: Source, named: bool) -> Sequence:
        if source.path.suffix == PICKLE:
            action = self.parse_name(source.name)["action"]
            place = int(source.member)
            return load_clip(source.path, place, action, self.topology, self.persons, self.vertical)
        if named:
            self.parse_name(source.path.name)
        if not source.path.is_file() and source.path.exists():
            raise SkeletonFileError("a file", "something else")
        if (size := source.path.stat().st_size) > _LARGEST_FILE:
            raise SkeletonFileError(f"at most {_LARGEST_FILE >> 20} MiB", f"{size >> 20} MiB")
        content = source.path.read_bytes()
        if not content.strip():
            raise SkeletonFileError("a skeleton recording", "an empty file")
        return self.parse(source.path.stem, content)

    def read(self, folder: Path, workers: int = 1) -> Iterator[Sequence | Damaged]:
        """Reads every clip of a folder and its subfolders, by name.

        Args:
            folder: Where the recordings lie.
            workers: Processes that parse; what is yielded, and in which order, does not depend on it.

        Returns:
            A sequence, or the reason why there is none, for each source.

        Raises:
            UserError: If the folder does not exist or holds no such file.
        """
        corpus = self.open(folder)
        return _read_all(corpus, folder, corpus.sources(folder), workers)


class Reader:
    """Loads clips of one folder, in one process or several.

    Args:
        corpus: Who knows the format.
        folder: The folder that file names in quarantine entries are relative to.
        workers: Processes; 1 stands for this one alone.
    """

    def __init__(self, corpus: Corpus, folder: Path, workers: int = 1) -> None:
        self._load = partial(_load_one, corpus, Path(folder))
        self._folder = folder
        self._ahead = 4 * workers
        self._pool = _pool(workers, self._load) if workers > 1 else None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def read(self, sources: list[Source]) -> Iterator[Sequence | Damaged]:
        """A sequence, or the reason why there is none, for each source, in their order.

        Only some hundreds of results wait in memory at a time.
        """
        if self._pool is None:
            yield from map(self._load, sources)
            return
        try:
            yield from self._read_ahead(self._pool, sources)
        except BrokenProcessPool as error:
            raise UserError(
                f"a process that reads {self._folder} was killed, as a rule for lack of memory: "
                "run again with --params=ingestion.workers=1; what was read is kept"
            ) from error

    def _read_ahead(self, pool: ProcessPoolExecutor, sources: list[Source]) -> Iterator[Sequence | Damaged]:
        waiting: deque[Future[list[Sequence | Damaged]]] = deque()
        for start in range(0, len(sources), _CLIPS_PER_TASK):
            waiting.append(pool.submit(_load_in_worker, sources[start : start + _CLIPS_PER_TASK]))
            if len(waiting) > self._ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _pool(workers: int, load: Callable[[Source], Sequence | Damaged]) -> ProcessPoolExecutor | None:
    """Processes that read; None where the machine has no place for what they share."""
    # Spawned, not forked: the calling process may hold threads (PyTorch's) that do not survive a fork.
    context = multiprocessing.get_context("spawn")
    try:
        return ProcessPoolExecutor(workers, context, initializer=_set_loader, initargs=(load,))
    except (OSError, NotImplementedError) as error:
        logger.warning("no other processes can be started (%s; see /dev/shm): one reads", error)
        return None


def _read_all(
    corpus: Corpus, folder: Path, sources: list[Source], workers: int
) -> Iterator[Sequence | Damaged]:
    with Reader(corpus, folder, workers) as reader:
        yield from reader.read(sources)


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder. Links are followed, as data often lie on another disk, but not in circles."""

    def refuse(error: OSError) -> None:
        if Path(error.filename) != folder:
            raise UserError(f"{error.filename}: expected a folder that can be read, saw {error.strerror}.")

    seen: set[str] = set()
    for at, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(at, file) for file in files)


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Sources by name; of several with one name, all but the first learn of their twin."""
    ordered = sorted(sources, key=lambda source: (source.name, source.path, source.member))
    for i, (first, second) in enumerate(itertools.pairwise(ordered)):
        if first.name == second.name:
            ordered[i + 1] = replace(second, twin=ordered[i].twin or first.path)
    return ordered


def _load_one(corpus: Corpus, folder: Path, source: Source) -> Sequence | Damaged:
    file = source.file(folder)
    if source.twin is not None:
        twin = Source(source.name, source.twin).file(folder)
        return Damaged(source.name, file, None, "a name that occurs once", f"the name of {twin}")
    try:
        return corpus.load(source)
    except SkeletonFileError as error:
        return Damaged(source.name, file, error.line, error.expected, error.seen)


_loader: Callable[[Source], Sequence | Damaged]


def _set_loader(loader: Callable[[Source], Sequence | Damaged]) -> None:
    """Once a worker process: a corpus with a table of clips is not sent along with every clip."""
    global _loader
    prepare_process()
    _loader = loader
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed run leaves no worker behind: a pool's own workers would wait forever for its next task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _load_in_worker(sources: list[Source]) -> list[Sequence | Damaged]:
    return [_loader(source) for source in sources]
