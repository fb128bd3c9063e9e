"""Batches across requests: each gets its own answer, and one that fails fails alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from llmar_pipeline.recognition.batches import Batches, BusyError
from llmar_pipeline.skeletons.sequence import Sequence


def clip(name):
    return Sequence(str(name), np.zeros((1, 1, 1, 2), np.float32))


class Answering:
    """Says which recordings it was asked together; waits for `go` before the first answer."""

    def __init__(self):
        self.asked, self.go, self.at_work = [], threading.Event(), threading.Event()

    def __call__(self, sequences, classes, top_k):
        self.at_work.set()
        assert self.go.wait(10)
        self.asked.append([sequence.name for sequence in sequences])
        if any(sequence.name == "bad" for sequence in sequences):
            raise ValueError("a fault")
        return [(sequence.name, classes, top_k) for sequence in sequences]


@pytest.fixture
def answering():
    return Answering()


@pytest.fixture
def batches(answering):
    made = Batches(answering, largest=4, waiting=9)
    made.ask([clip("first")], None, 1)
    answering.at_work.wait(10)  # what is asked from here on waits
    yield made
    answering.go.set()
    made.close()


def test_what_waits_is_answered_together_by_list_and_number_of_names(batches, answering):
    asked = dict.fromkeys("abcdefg", (None, 1)) | {"b": (("x",), 1), "d": (None, 2)}
    futures = {name: batches.ask([clip(name)], *how)[0] for name, how in asked.items()}
    answering.go.set()
    answers = {name: future.result(10) for name, future in futures.items()}
    assert all(answer[0] == name for name, answer in answers.items())
    assert answers["b"] == ("b", ("x",), 1)
    assert answering.asked == [["first"], ["a", "c", "e", "f"], ["b"], ["d"], ["g"]]


def test_one_that_fails_spoils_no_other(batches, answering):
    futures = batches.ask([clip(name) for name in ("a", "bad", "c")], None, 1)
    answering.go.set()
    assert [futures[place].result(10)[0] for place in (0, 2)] == ["a", "c"]
    with pytest.raises(ValueError, match="a fault"):
        futures[1].result(10)
    assert batches.ask([clip("later")], None, 1)[0].result(10)[0] == "later"


def test_what_is_no_longer_wanted_is_not_worked_out(batches, answering):
    gone, kept = batches.ask([clip("gone"), clip("kept")], None, 1)
    assert gone.cancel()
    answering.go.set()
    assert kept.result(10)[0] == "kept"
    assert answering.asked == [["first"], ["kept"]]


def test_too_many_that_wait_are_refused_whole(batches, answering):
    batches.ask([clip(number) for number in range(8)], None, 1)
    with pytest.raises(BusyError):
        batches.ask([clip("a"), clip("b")], None, 1)
    last = batches.ask([clip("last")], None, 1)
    answering.go.set()
    assert last[0].result(10)[0] == "last"


def test_fewer_answers_than_questions_are_a_fault():
    batches = Batches(lambda sequences, classes, top_k: [], largest=4)
    with pytest.raises(ValueError, match="zip"):
        batches.ask([clip("a")], None, 1)[0].result(10)
    batches.close()


def test_many_threads_get_their_own_answers():
    batches = Batches(lambda sequences, classes, top_k: [sequence.name for sequence in sequences])
    with ThreadPoolExecutor(8) as pool:
        names = [str(number) for number in range(400)]
        found = pool.map(lambda name: batches.ask([clip(name)], None, 1)[0].result(10), names)
        assert list(found) == names
    batches.close()
