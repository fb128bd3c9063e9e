"""Reading many clips, in one process or several; one that is damaged keeps no other from being read."""

from __future__ import annotations

import errno
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol

from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.errors import UserError, escaped
from llmar_pipeline.interruption import children_without_ctrl_c
from llmar_pipeline.machine import prepare_process
from llmar_pipeline.skeletons.sequence import Damaged, Sequence, SkeletonFileError

_CLIPS_PER_TASK = 32
_TASKS_AHEAD = 4  # of each reading process; few enough that their names fit into its pipe
_ENDS = (None, errno.EPIPE, errno.ECONNRESET)  # of a pipe, whose other end is gone


class Loader(Protocol):
    """What a reader asks of a corpus."""

    def load(self, source: Source) -> Sequence:
        """One clip."""

    def for_a_process(self) -> Loader:
        """What a process needs that does nothing else."""


class Reader:
    """Loads clips of one folder, in one process or several.

    Each process has a pipe of its own and shares no lock with others: one that is killed, even in the middle
    of an answer, is noticed at once and keeps nobody waiting.

    Args:
        corpus: Who knows the format.
        folder: The folder that file names in quarantine entries are relative to.
        workers: Processes; 1 stands for this one alone.
    """

    def __init__(self, corpus: Loader, folder: Path, workers: int = 1) -> None:
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


def read_all(
    corpus: Loader, folder: Path, sources: list[Source], workers: int
) -> Iterator[Sequence | Damaged]:
    """A sequence, or the reason why there is none, for each source; see `Reader`."""
    with Reader(corpus, folder, workers) as reader:
        yield from reader.read(sources)


def _load_one(corpus: Loader, folder: Path, source: Source) -> Sequence | Damaged:
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
