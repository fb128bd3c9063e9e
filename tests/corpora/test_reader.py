"""A process that reads may be killed at any moment; it is noticed, and nobody waits for it."""

import os
import struct
import threading
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmar_pipeline.corpora import CORPORA
from llmar_pipeline.corpora.reader import Reader, _work
from llmar_pipeline.corpora.sources import Source
from llmar_pipeline.errors import UserError

SOURCES = [Source(f"clip{number:04}", f"/nowhere/clip{number:04}.json") for number in range(1000)]
PROCESS = SimpleNamespace(terminate=lambda: None, join=lambda: None)


@pytest.fixture
def pipes():
    """A reader of two processes that are threads here, and their ends of the pipes; nothing answers yet."""
    with Reader(CORPORA["nwucla"], Path("/"), workers=2) as reader:
        ends = [Pipe() for _ in range(2)]
        reader._workers = [(PROCESS, here) for here, _ in ends]
        yield reader, [there for _, there in ends]


def answer(there, load):
    threading.Thread(target=_work, args=(there, load), daemon=True).start()


@pytest.mark.parametrize("number", [0, 1, 32, 33, 1000])
def test_answers_come_in_the_order_of_the_sources(pipes, number):
    reader, ends = pipes
    for there in ends:
        answer(there, lambda source: source.name)
    for _ in range(2):
        assert list(reader.read(SOURCES[:number])) == [source.name for source in SOURCES[:number]]


@pytest.mark.parametrize("cut", [0, 2, 4, 400])
def test_one_that_is_killed_at_any_point_of_its_answer_is_noticed(pipes, cut):
    reader, ends = pipes
    answer(ends[0], lambda source: source.name)
    os.write(ends[1].fileno(), (struct.pack("!i", 1000) + b"x" * 1000)[:cut])
    ends[1].close()
    with pytest.raises(UserError, match=r"a process that reads / was killed.*ingestion.workers=1"):
        list(reader.read(SOURCES))


@pytest.mark.parametrize("error", [MemoryError(), ValueError("a bug"), PermissionError(13, "denied")])
def test_what_a_process_raises_is_raised_here(pipes, error):
    def load(source):
        raise error

    reader, ends = pipes
    for there in ends:
        answer(there, load)
    with pytest.raises(type(error)):
        list(reader.read(SOURCES))


def test_real_processes_that_are_killed():
    with Reader(CORPORA["nwucla"], Path("/"), workers=2) as reader:
        reading = reader.read(SOURCES)
        next(reading)
        for process, _ in reader._workers:
            process.kill()
            process.join()
        with pytest.raises(UserError, match="was killed"):
            list(reading)
