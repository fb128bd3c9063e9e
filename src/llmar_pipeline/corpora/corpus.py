"""What every skeleton dataset has: a reader, class names, protocols."""

from __future__ import annotations

import errno
import itertools
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llmar_pipeline.corpora.formats.pyskl import load_clip, read_pyskl
from llmar_pipeline.corpora.plausible import check_reach
from llmar_pipeline.corpora.protocol import Protocol
from llmar_pipeline.errors import UserError, escaped
from llmar_pipeline.interruption import children_without_ctrl_c
from llmar_pipeline.machine import prepare_process
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError
from llmar_pipeline.skeletons.topology import Topology

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_CLIPS_PER_TASK = 32
_TASKS_AHEAD = 4  # of each reading process; few enough that their names fit into its pipe
LARGEST_FILE = 64 * 2**20  # bytes; a recording of an hour
_ENDS = (None, errno.EPIPE, errno.ECONNRESET)  # of a pipe, whose other end is gone
_SHOWN = 100  # characters of an unforeseen error
_LEFTOVER = "__MACOSX"  # folder of a Mac's archives; its files are named ._<file>, and hold no recording
PICKLE = ".pkl"
_PACKAGE = __name__.partition(".")[0]


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
        parse_everyone: As `parse`, with everyone whom a file shows, `Sequence.bodies` in their order; None
            where clips show one person.
        download: Where to get the data and how to lay it out, in one sentence.
        citation: The publication to cite.
        units: Of the coordinates: "metres" or "pixels".
        vertical: Where y points in keypoint files made of it; what is read always has y up.
        metric: The number that its publications report: "accuracy" or "mean_class_accuracy".
        clips: Official number of clips, excluded ones not counted; None where it is unknown.
        class_clips: The same of each class, in label order; 0 where it has none.
        clip_frames: Mean frames of a clip, those of two persons counted twice; None where it is unknown.
        frame_rate: Frames a second of its recordings; None where it is unknown.
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
    parse_everyone: Callable[[str, bytes], Sequence] | None = None
    download: str
    citation: str
    units: Literal["metres", "pixels"] = "metres"
    vertical: Literal["up", "down"] = "up"
    metric: Literal["accuracy", "mean_class_accuracy"] = "accuracy"
    clips: int | None = None
    class_clips: tuple[int, ...] | None = None
    clip_frames: float | None = None
    frame_rate: float | None = None
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

    def for_a_process(self) -> Corpus:
        """What a process needs of it that reads clips out of files: no lists of them, which may be long."""
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
        found = [folder] if folder.is_file() else list(files_below(folder))
        sources = [Source(path.stem, str(path)) for path in found if path.suffix.lower() == self.suffix]
        pickles = [path for path in found if path.suffix.lower() == PICKLE]
        if not sources and len(pickles) == 1:
            names = read_pyskl(pickles[0]).names
            sources = [Source(name, str(pickles[0]), str(place)) for place, name in enumerate(names)]
        if not sources:
            seen = f"{len(pickles)} pickles" if pickles else "none" if folder.exists() else "no such folder"
            raise UserError(
                f"{folder}: expected {self.name} files (*{self.suffix}) or one pickle of pyskl (*{PICKLE}), "
                f"saw {seen}. {self.download} "
                "Recordings that lie elsewhere are named by --params=raw_dir=<folder>."
            )
        return in_order(source for source in sources if source.name not in self.excluded)

    def load(self, source: Source | Path, named: bool = True, everyone: bool = False) -> Sequence:
        """Reads one clip.

        Args:
            source: Where it lies.
            named: Whether it must bear a name of this corpus, which says its class.
            everyone: Whether all people whom the file shows are kept, however many; `bodies` of the sequence
                then are in their order.

        Raises:
            SkeletonFileError: If it cannot be read, or is damaged, or does not bear such a name.
        """
        source = source if isinstance(source, Source) else Source(Path(source).stem, str(source))
        path = source.path
        try:
            sequence = self._load(source, named, everyone)
            check_reach(sequence, self.topology, self.units)
            return sequence
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
        except UserError:
            raise
        except Exception as error:  # damage is endless, and one file must not end the reading of all others
            seen = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
            raise SkeletonFileError("a file that its reader can read", seen, file=str(path)) from error

    def _load(self, source: Source, named: bool, everyone: bool) -> Sequence:
        if source.member:
            action = self.parse_name(source.name)["action"] if named else None
            place, persons = int(source.member), None if everyone else self.persons
            return load_clip(source.path, place, action, self.topology, persons, self.vertical)
        if named:
            self.parse_name(source.name)
        if not source.path.is_file() and source.path.exists():
            raise SkeletonFileError("a file", "something else")
        if (size := source.path.stat().st_size) > LARGEST_FILE:
            raise SkeletonFileError(f"at most {LARGEST_FILE >> 20} MiB", f"{size >> 20} MiB")
        content = source.path.read_bytes()
        if not content.strip():
            raise SkeletonFileError("a skeleton recording", "an empty file")
        parse = self.parse_everyone if everyone and self.parse_everyone else self.parse
        return parse(source.path.stem, content)

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

    Each process has a pipe of its own and shares no lock with others: one that is killed, even in the middle
    of an answer, is noticed at once and keeps nobody waiting.

    Args:
        corpus: Who knows the format.
        folder: The folder that file names in quarantine entries are relative to.
        workers: Processes; 1 stands for this one alone.
    """

    def __init__(self, corpus: Corpus, folder: Path, workers: int = 1) -> None:
        read = corpus if workers == 1 else corpus.for_a_process()
        self._load = partial(_load_one, read, Path(folder))
        self._folder = folder
        self._number = workers
        self._workers: list[tuple[SpawnProcess, Connection]] = []

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
        for process, _pipe in self._workers:
            process.join()

    def read(self, sources: list[Source]) -> Iterator[Sequence | Damaged]:
        """A sequence, or the reason why there is none, for each source, in their order.

        Only some hundreds of results wait in memory at a time.
        """
        if self._number == 1:
            yield from map(self._load, sources)
            return
        try:
            self._start()
            yield from self._read_ahead(sources)
        except (EOFError, OSError) as error:
            if getattr(error, "errno", None) not in _ENDS:
                raise
            raise UserError(
                f"a process that reads {self._folder} was killed, as a rule for lack of memory: "
                "run again with --params=ingestion.workers=1; what was read is kept"
            ) from error

    def _start(self) -> None:
        # Spawned, not forked: the calling process may hold threads (PyTorch's) that do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with children_without_ctrl_c():
            while len(self._workers) < self._number:
                here, there = context.Pipe()
                process = context.Process(target=_work, args=(there, self._load), daemon=True)
                with there:
                    process.start()
                self._workers.append((process, here))

    def _read_ahead(self, sources: list[Source]) -> Iterator[Sequence | Damaged]:
        tasks = [sources[i : i + _CLIPS_PER_TASK] for i in range(0, len(sources), _CLIPS_PER_TASK)]
        pipes = [pipe for _, pipe in self._workers]
        ahead = _TASKS_AHEAD * len(pipes)
        for number in range(len(tasks) + ahead):
            if number >= ahead:
                answer = pipes[(number - ahead) % len(pipes)].recv()
                if isinstance(answer, Exception):
                    raise answer
                yield from answer
            if number < len(tasks):
                pipes[number % len(pipes)].send(tasks[number])


def _read_all(
    corpus: Corpus, folder: Path, sources: list[Source], workers: int
) -> Iterator[Sequence | Damaged]:
    with Reader(corpus, folder, workers) as reader:
        yield from reader.read(sources)


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


def _load_one(corpus: Corpus, folder: Path, source: Source) -> Sequence | Damaged:
    file = source.file(folder)
    if source.twin is not None:
        twin = Source(source.name, source.twin).file(folder)
        return _damaged(source, file, None, "a name that occurs once", f"the name of {twin}")
    try:
        return corpus.load(source)
    except SkeletonFileError as error:
        return _damaged(source, file, error.line, error.expected, error.seen)


def _damaged(source: Source, file: str, line: int | None, expected: str, seen: str) -> Damaged:
    return Damaged(escaped(source.name), escaped(file), line, escaped(expected), escaped(seen))


def _work(pipe: Connection, load: Callable[[Source], Sequence | Damaged]) -> None:
    """What a reading process does: it answers tasks until whoever gives them is gone."""
    prepare_process()
    with pipe, suppress(EOFError, ConnectionError):
        while True:
            sources = pipe.recv()
            try:
                pipe.send([load(source) for source in sources])
            except Exception as error:  # raised where the recordings are wanted
                pipe.send(error)
