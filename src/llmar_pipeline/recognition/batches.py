"""Recordings of many requests, answered together."""

import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from llmar_pipeline.skeletons.sequence import Sequence

Answer = TypeVar("Answer")
Classes = tuple[str, ...] | None


class BusyError(Exception):
    """More recordings wait than may."""


@dataclass(frozen=True, eq=False)
class _Asked(Generic[Answer]):
    sequence: Sequence
    classes: Classes
    top_k: int
    future: Future[Answer] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[Classes, int]:
        return self.classes, self.top_k


class Batches(Generic[Answer]):
    """A thread that answers what waits: all recordings that came while it answered the ones before.

    Nothing waits for a batch to fill, so one recording alone is answered at once.

    Args:
        answer_all: Answers recordings of one class list and number of names, in their order.
        largest: Recordings answered together.
        waiting: Recordings that may wait.
    """

    def __init__(
        self,
        answer_all: Callable[[list[Sequence], Classes, int], SequenceOf[Answer]],
        largest: int = 32,
        waiting: int = 512,
    ) -> None:
        self._answer_all, self._largest, self._most = answer_all, largest, waiting
        self._waiting: deque[_Asked[Answer]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def ask(self, sequences: SequenceOf[Sequence], classes: Classes, top_k: int) -> list[Future[Answer]]:
        """The answers to come; one that is cancelled before its turn is not worked out.

        Raises:
            BusyError: Too many recordings wait already.
        """
        asked = [_Asked[Answer](sequence, classes, top_k) for sequence in sequences]
        with self._changed:
            if len(self._waiting) + len(asked) > self._most:
                raise BusyError
            self._waiting += asked
            self._changed.notify()
        return [one.future for one in asked]

    def close(self) -> None:
        """Answer what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self._answer([one for one in batch if one.future.set_running_or_notify_cancel()])

    def _next(self) -> list[_Asked[Answer]]:
        """The longest waiting and others of its kind; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            kind = self._waiting[0].kind if self._waiting else None
            batch = [one for one in self._waiting if one.kind == kind][: self._largest]
            self._waiting = deque(one for one in self._waiting if one not in batch)
            return batch

    def _answer(self, batch: list[_Asked[Answer]]) -> None:
        """Together; where that fails, one by one, so that each fails for itself alone."""
        if not batch:
            return
        first = batch[0]
        try:
            answers = self._answer_all([one.sequence for one in batch], first.classes, first.top_k)
            pairs = list(zip(batch, answers, strict=True))
        except Exception as error:
            if len(batch) == 1:
                first.future.set_exception(error)
            for one in batch if len(batch) > 1 else ():
                self._answer([one])
        else:
            for one, answer in pairs:
                one.future.set_result(answer)
